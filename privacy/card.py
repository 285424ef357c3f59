"""The privacy card: what an artefact says of its own privacy, under `privacy` in its metadata."""

from core_distill.environment import versions
from privacy.accounting import ACCOUNTANT
from privacy.audit import AuditReport
from privacy.run import PrivateRun

UNPREDICTABLE = "unpredictable"
"""What a card says of noise whose seed nobody was given."""


def privacy_card(run: PrivateRun, *, audit: AuditReport | None = None) -> dict[str, object]:
    """The card of a finished private run, as JSON values.

    `guarantee` holds epsilon at delta, the mechanism with its releases, the accountant, the ledger's digest and what is
    assumed to be public; `audit` what an audit of the same settings found. A set distilled without privacy carries
    `no_guarantee()` instead.
    """
    first = run.ledger.releases[0]
    return {
        "guarantee": {
            "epsilon": run.ledger.epsilon(run.delta),
            "delta": run.delta,
            "mechanism": first.mechanism,
            "sampler": first.sampler,
            "neighbouring": first.neighbouring,
            "accountant": f"{ACCOUNTANT}, stillroom {versions()['stillroom']}",
            "releases": run.ledger.state_dict()["releases"],
            "clip_norm": run.clip_norm,
            "ledger_digest": run.ledger.digest(),
            "public": {
                "class_numbers": run.data.classes.tolist(),
                "class_size": run.data.public_class_size,
                "normalisation": True,
            },
            "noise": "repeatable from a given seed" if run.secret.known else UNPREDICTABLE,
            "covers": "the synthetic set; not scores, audits or choices of settings made by looking at the data",
        },
        "audit": audit.as_dict() if audit else None,
    }


def no_guarantee() -> dict[str, object]:
    """The card of a set distilled without privacy."""
    return {"guarantee": "no guarantee"}


def describe_card(card: dict[str, object]) -> str:
    """A card in a few lines of text."""
    guarantee, audit = card["guarantee"], card.get("audit")
    if not isinstance(guarantee, dict):
        return "privacy: no guarantee"
    count = sum(release["count"] for release in guarantee["releases"])
    lines = [
        f"privacy: epsilon {guarantee['epsilon']:.3f} at delta {guarantee['delta']:g} ({guarantee['neighbouring']})"
        + ("" if guarantee["noise"] == UNPREDICTABLE else "; NOT against anybody who knows the noise seed"),
        f"  {count} releases of a {guarantee['mechanism']} mechanism under {guarantee['sampler']} sampling; "
        f"clipping norm {guarantee['clip_norm']:.3g}",
        f"  noise: {guarantee['noise']}",
        f"  {guarantee['accountant']}; ledger {guarantee['ledger_digest'][:16]}",
    ]
    if isinstance(audit, dict):
        lines.append(
            f"  audit: epsilon at least {audit['lower_bound']:.2f} ({100 * audit['confidence']:.0f} % confidence; it "
            f"could show {audit['max_attainable']:.2f})"
        )
    return "\n".join(lines)
