"""Curves of guidance made by hand, for the tests of what is done with them."""

from records import computed, sound

from ditbench.records.guidance import GuidancePoint, guided, new_curve
from ditbench.storage.schema import digest


def point(record, scale, fid=1.25, recall=0.5):
    """What a scale might have given of a record."""
    metrics = [*sound(fid=fid).metrics]
    reals = {"reference_samples": 1541, "reference_sha256": record.reference_sha256}
    reals["features_sha256"] = metrics[0].features_sha256
    hits = {"recall": [round(1541 * recall), 1541], "precision": [700, 1000]}
    shares = [computed(name, {"counts": list(map(float, of))}, **reals, neighbours=3) for name, of in hits.items()]
    metrics += [share.model_copy(update={"higher_is_better": True}) for share in shares]
    guidance = guided(record.track, scale, ["fid"]).sampler.guidance
    sampling = record.sampling.model_copy(
        update={"evaluations": 25 if scale == 1 else 50, "images_sha256": digest([record.run_id, scale])}
    )
    return GuidancePoint(
        guidance=guidance, created=record.created, environment=record.environment, device="cpu",
        sampling=sampling, metrics=metrics,
    )  # fmt: skip


def curve(record, fids, recalls=None):
    """A curve of a record: the FIDs, and the recalls, by scale."""
    found = new_curve(record)
    for scale, fid in fids.items():
        found = found.and_also(point(record, scale, fid, (recalls or {}).get(scale, 0.5)))
    return found
