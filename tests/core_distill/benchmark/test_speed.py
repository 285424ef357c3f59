"""The benchmark as a whole: rows, fields, files, and going on where it was stopped."""

import json

import pytest

from core_distill.benchmark import Plan, run_speed, speed
from core_distill.benchmark.ceiling import Ceiling
from core_distill.benchmark.memory import peak_memory
from core_distill.benchmark.report import lines, markdown, table, write_report


@pytest.fixture(autouse=True)
def known_ceiling(monkeypatch):
    """The measurement of the machine takes seconds."""
    monkeypatch.setattr(speed, "measure_ceiling", lambda device, precision: Ceiling(1.0, 2.0))


@pytest.fixture
def plan(tiny):
    values = {"images_per_class": (2, 1), "num_classes": (3,), "side": (8,)}
    return Plan(
        work=("dm",),
        size=tiny,
        values=values,
        rounds=2,
        precisions=("float32", "bfloat16"),
        compiled=False,
        memory=False,
    )


def test_fields_of_the_results(plan, tmp_path):
    results = run_speed(plan, tmp_path / "run", command="stillroom benchmark speed")
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert results["commands"] == ["stillroom benchmark speed"]
    assert set(results["ceiling"]) == {"float32", "bfloat16"}
    assert list(results["rows"]) == [f"dm images_per_class={n} num_classes=3 side=8" for n in (2, 1)]
    for row in results["rows"].values():
        assert list(row["runners"]) == ["naive", "float32", "bfloat16"]
        for told in row["runners"].values():
            assert len(told["seconds"]) == 2
            assert told["min"] <= told["median"] <= told["max"]
            assert told["gflops"] == pytest.approx(row["flops"] / told["median"] / 1e9)
            assert told["share"] == pytest.approx(told["gflops"] / 2)
            assert told["speedup"]["naive"] == pytest.approx(row["runners"]["naive"]["median"] / told["median"])


def test_a_stopped_run_goes_on_and_measures_no_row_twice(plan, tmp_path, monkeypatch):
    measured, real = [], speed._measure

    def stops_at_the_second(plan, work, size, *rest):
        if measured == [2]:
            raise KeyboardInterrupt
        measured.append(size.images_per_class)
        return real(plan, work, size, *rest)

    monkeypatch.setattr(speed, "_measure", stops_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_speed(plan, tmp_path / "run")
    first = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    measured.append("again")
    rows = run_speed(plan, tmp_path / "run")["rows"]
    assert measured == [2, "again", 1]
    assert len(rows) == 2
    assert first.items() <= rows.items()
    run_speed(plan, tmp_path / "run")
    assert measured == [2, "again", 1]


def test_another_plan_does_not_mix_its_numbers_in(plan, tiny, tmp_path):
    run_speed(plan, tmp_path / "run")
    with pytest.raises(ValueError, match="rounds is 2, now 5"):
        run_speed(Plan(work=("dm",), size=tiny, rounds=5, compiled=False, memory=False), tmp_path / "run")


def test_axes_vary_one_at_a_time(tiny):
    values = {"images_per_class": (2, 1), "num_classes": (3, 2), "inner_steps": (2, 4)}
    rows = Plan(work=("dc", "mtt", "experts"), size=tiny, values=values).rows()
    assert [name for name in rows if name.startswith("dc")] == [
        "dc images_per_class=2 num_classes=3 side=8",
        "dc images_per_class=1 num_classes=3 side=8",
        "dc images_per_class=2 num_classes=2 side=8",
    ]
    assert len([name for name in rows if name.startswith("mtt")]) == 4
    assert [name for name in rows if name.startswith("experts")] == ["experts side=8"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"work": ("dm", "xyz")}, "work must be chosen from dc, dsa"),
        ({"precisions": ("float16",)}, "precision must be chosen from float32, bfloat16"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"values": {"side": ()}}, "values must be given"),
        ({"values": {"side": (4,)}}, "side must be at least 8"),
    ],
)
def test_plans_that_do_not_work_are_refused(values, told):
    with pytest.raises(ValueError, match=told):
        Plan(**values)


def results_of(seconds):
    """Results whose seconds and bytes follow `seconds(images_per_class)`."""
    rows = {}
    for n in (1, 10, 50):
        cost = seconds(n)
        told = dict.fromkeys(("median", "min", "max", "warm_up"), cost) | {
            "gflops": 1.0,
            "share": 0.5,
            "peak_bytes": cost,
        }
        runners = {"float32": told | {"speedup": {"naive": 2.0}}, "naive": {"failed": "no memory"}}
        rows[str(n)] = {"work": "dm", "unit": "step", "images_per_class": n, "runners": runners}
    identity = {"versions": {"torch": "2"}, "hardware": {"threads": 1}, "size": {"width": 4}, "rounds": 3}
    return {"rows": rows, "identity": identity, "ceiling": {"float32": Ceiling(1.0, 2.0)._asdict()}, "commands": ["x"]}


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_slope_of_a_power_law_is_its_exponent(power):
    (line,) = lines(results_of(lambda n: 3 * n**power), "median")
    assert (line.axis, line.work, line.runner) == ("images_per_class", "dm", "float32")
    assert line.slope == pytest.approx(power)


def test_a_line_varies_one_size_alone():
    told = {"float32": {"median": 1.0}}
    sizes = ((1, 1), (2, 1), (1, 3))
    rows = {str(s): {"work": "dm", "images_per_class": s[0], "num_classes": s[1], "runners": told} for s in sizes}
    found = {line.axis: line.points for line in lines({"rows": rows}, "median")}
    assert found == {"images_per_class": ((1, 1), (2, 1)), "num_classes": ((1, 1), (3, 1))}


def test_who_needs_too_much_memory_is_not_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "peak_memory", lambda runner, *rest, **more: None if runner == "naive" else 1_000_000)
    results = run_speed(Plan(work=("dm",), size=tiny, rounds=1, compiled=False), tmp_path / "run")
    (row,) = results["rows"].values()
    assert row["runners"]["naive"] == {"failed": "needs more memory than was free"}
    assert row["runners"]["float32"]["peak_bytes"] == 1_000_000
    assert row["runners"]["float32"]["speedup"] == {}
    header, rows = table(results)
    assert all(len(row) == len(header) for row in rows)


def test_the_report_is_written(tmp_path):
    results = results_of(lambda n: 2.0 * n)
    assert write_report(results, tmp_path) == ["speed.md", "speed.csv", "speed.png"]
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert "dm, float32: seconds against images per class has the slope 1.00" in markdown(results)
    header, rows = table(results)
    assert all(len(row) == len(header) for row in rows)
    assert (tmp_path / "speed.csv").read_text().count("\n") == 7


def test_peak_memory_is_that_of_a_fresh_process(tiny):
    found = peak_memory("naive", "dm", tiny, "cpu", compiled=False, peers={})
    assert 0 < found < 1 << 30


def test_work_that_does_not_fit_is_stopped_before_the_machine_swaps(tiny):
    import dataclasses

    assert (
        peak_memory("naive", "dm", dataclasses.replace(tiny, images_per_class=10**9), "cpu", compiled=False, peers={})
        is None
    )
