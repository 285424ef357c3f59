"""Texts come in from files, lose nothing but what is past their length, and are embedded by what is fixed."""

import hashlib
import io
import urllib.error

import pytest
import torch

from core_distill.data import KNOWN_TEXTS, hashed_embeddings, known_texts, load_data, load_texts, read_embeddings
from core_distill.data.text_folder import LabelledText, read_text_folder
from core_distill.data.texts import embed_texts, words_of
from core_distill.recipes import condense, find_recipe
from core_distill.synthetic.storage import decode_artefact, encode_artefact

CSV = "id,text,label\n" + "".join(
    f'{i},"a {animal}, number {i}",{animal}\n' for i in range(10) for animal in ("cat", "dog")
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "train.csv").write_text(CSV)
    return tmp_path / "pets"


def test_words():
    assert words_of("It's 3_000  Ünïcode—words!") == ["it", "'", "s", "3", "000", "ünïcode", "—", "words", "!"]
    assert words_of(" \n") == []


def test_a_word_is_the_same_vector_everywhere():
    embeddings = hashed_embeddings(6)
    first, second = embed_texts(["the cat sat", "cat, THE"], embeddings, length=4)
    assert first.shape == (6, 4)
    assert first.dtype == torch.float32
    assert torch.equal(first[:, 1], second[:, 0])
    assert torch.equal(first[:, 0], second[:, 2])
    assert not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first[:, 3], torch.zeros(6))
    assert torch.equal(embed_texts(["the cat sat"], hashed_embeddings(6), length=2)[0], first[:, :2])
    assert abs(float(embeddings.table[1:].std()) - 1) < 0.01


def test_given_embeddings(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("2 3\ncat 1 2 3\nsat -1 0 0.5\n")
    embeddings = read_embeddings(path)
    assert embeddings.dimensions == 3
    found = embed_texts(["Cat or sat"], embeddings, length=4)[0]
    assert found.T.tolist() == [[1, 2, 3], [0, 0, 0], [-1, 0, 0.5], [0, 0, 0]]


@pytest.mark.parametrize(
    "text",
    [
        "3 2\ncat 1 2 \nat home 3 4 \n2 5 6 \n",
        "cat 1 2\nat home 3 4\n2 5 6",
        "cat 1 2\r\nat home 3 4\r\n2 5 6\r\n",
        "2 5 6\nat home 3 4\ncat 1 2\n",
    ],
    ids=["fastText", "GloVe", "Windows", "number first"],
)
def test_embeddings_of_all_tools(tmp_path, text):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text.encode())
    embeddings = read_embeddings(path)
    found = [embeddings.table[embeddings.row_of(word)].tolist() for word in ("cat", "at home", "2", "at", "home")]
    assert found == [[1, 2], [3, 4], [5, 6], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"cat 1 2\ndog 1\n", "line 2: expected 2 finite numbers after the word, got '1'"),
        (b"cat 1 2\ndog 1 nan\n", "line 2: expected 2 finite"),
        (b"1 2\ncat 1\n", "line 2: expected 2 finite"),
        (b"cat 1 2\na dog 1\n", "line 2: expected 2 finite numbers after the word, got 'dog 1'"),
        (b"cat one two\n", "line 1: expected at least 1 finite numbers after the word, got 'one two'"),
        (b"cat 1 2\n\n", "line 2: expected 2 finite"),
        (b"cat 1 2\nd\xffg 1 2\n", "vectors.txt, line 2: not readable as text in UTF-8"),
        (b"", "holds no vectors"),
    ],
)
def test_damaged_embeddings(tmp_path, text, message):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_embeddings(path)


def test_a_folder_of_values_by_name(folder):
    splits = load_data(folder)
    assert splits.name == "pets"
    assert splits.class_names == ("cat", "dog")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 2, 4]
    assert splits.train.image_shape == (50, 32)
    assert splits.public_normalisation
    assert torch.equal(load_data(folder).test.images, splits.test.images)
    shorter = load_texts(folder, length=3, embeddings=hashed_embeddings(4))
    assert shorter.train.image_shape == (4, 3)
    assert not shorter.public_normalisation


def test_plain_lines_with_a_test_file(tmp_path):
    (tmp_path / "train.txt").write_text("cat a cat \n\ndog the dog barks\ncat meow\ndog woof\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("dog bark\n", encoding="utf-8")
    train, test = read_text_folder(tmp_path)
    assert train == [("cat", "a cat"), ("dog", "the dog barks"), ("cat", "meow"), ("dog", "woof")]
    assert test == [LabelledText("dog", "bark")]
    assert len(load_texts(tmp_path).test) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "0 files called train.csv or train.txt"),
        ({"train.csv": CSV, "train.txt": "a b\n"}, "2 files called"),
        ({"train.csv": "label,words\ncat,a\n"}, "lacks the column text"),
        (
            {"train.csv": "label,text\ncat,a, b\n"},
            "line 2: more fields than columns; put a text with commas into double",
        ),
        ({"train.csv": 'label,text\ncat,"a\ndog,b\n'}, "not readable as comma-separated values"),
        ({"train.csv": "label,text\n,a\n"}, "line 2: a label and a text are needed"),
        ({"train.csv": "label,text\ncat,a\n  ,b\n"}, "line 3: a label and a text are needed"),
        ({"train.csv": "label,text\ncat," + "a" * 200_000}, "train.csv, line 2: .*field larger than field limit"),
        ({"train.csv": CSV, "test.txt": "cat a\n"}, "test.txt is of another kind than train.csv"),
        ({"train.txt": "cat a\ndog b\n", "test.csv": CSV}, "test.csv is of another kind than train.txt"),
        ({"train.csv": "label,text\n"}, "holds no texts"),
        ({"train.txt": "cat a\ndog\n"}, "line 2: a label and a text are needed, got 'dog'"),
        ({"train.txt": "cat a\ncat b\n"}, "at least 2 classes are needed, got cat"),
        ({"train.csv": CSV, "test.csv": "label,text\nfish,a\n"}, "classes that train lacks: fish"),
        ({"train.txt": b"cat \xff\n"}, "not readable as text in UTF-8"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        load_texts(tmp_path)


def test_texts_take_no_normalisation_and_no_data_dir(folder, monkeypatch):
    monkeypatch.setitem(KNOWN_TEXTS, "docstrings", lambda data_dir, download: read_text_folder(folder))
    with pytest.raises(ValueError, match="texts take no mean and std"):
        load_data(folder, mean=[0.0], std=[1.0])
    with pytest.warns(UserWarning, match="data_dir has no effect on docstrings"):
        load_data("docstrings", data_dir=folder)


def test_a_library_below_a_folder_called_test(tmp_path):
    package = tmp_path / "test" / "email"
    (package / "tests").mkdir(parents=True)
    (package / "mime.py").write_text('def f():\n    """What this does is nothing."""\n')
    (package / "tests" / "check.py").write_text('def f():\n    """What a test does is more."""\n')
    assert known_texts._paragraphs(package) == ["What this does is nothing."]


def test_pythons_own_texts():
    splits = load_data("docstrings")
    assert splits.class_names == known_texts._PACKAGES
    assert splits.train.class_sizes.min() > 50
    assert sorted(KNOWN_TEXTS) == ["docstrings", "trec6"]


QUESTIONS = "".join(f"NUM:count How many {i} ?\nHUM:ind Who is {i} \xe9 ?\n" for i in range(6)).encode("latin-1")


def test_questions_from_the_files_that_are_there(tmp_path):
    for name in known_texts._TREC_FILES:
        (tmp_path / name).write_bytes(QUESTIONS)
    splits = load_data("trec6", data_dir=tmp_path)
    assert splits.class_names == ("HUM", "NUM")
    assert len(splits.test) == 12
    (tmp_path / "TREC_10.label").write_bytes(b"no class\n")
    with pytest.raises(ValueError, match="line 1: expected 'CLASS:subclass question', got 'no class'"):
        load_data("trec6", data_dir=tmp_path)


def test_questions_are_downloaded_once_and_checked(tmp_path, monkeypatch):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO(QUESTIONS)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(known_texts.urllib.request, "urlopen", urlopen)
    with pytest.raises(ValueError, match="not the file that it was"):
        load_data("trec6")
    assert not list(tmp_path.rglob("*.label"))
    digest = hashlib.sha256(QUESTIONS).hexdigest()
    monkeypatch.setattr(known_texts, "_TREC_FILES", dict.fromkeys(known_texts._TREC_FILES, digest))
    assert len(load_data("trec6").test) == len(load_data("trec6", download=False).test) == 12
    assert [url.rsplit("/", 1)[1] for url in asked[1:]] == ["train_5500.label", "TREC_10.label"]


def test_offline_names_the_ways_out(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(known_texts.urllib.request, "urlopen", urlopen)
    with pytest.raises(ValueError, match=r"trec6 is not in .*no route to host.*--data-dir.*or use docstrings"):
        load_data("trec6")


def test_synthetic_texts_are_learned_and_written(folder):
    real = load_data(folder).train
    recipe = find_recipe("sldd-text", images_per_class=2, schedule="cpu")
    recipe = recipe.with_values({"steps": 3, "batch_size": 4, "width": 4, "inner_epochs": 2})
    whole = condense(real, recipe, seed=0)
    assert whole.batch().images.shape == (4, 50, 32)
    read = decode_artefact(encode_artefact(whole, metadata={}, precision="float32")).synthetic
    assert torch.equal(read.batch().images, whole.batch().images)
