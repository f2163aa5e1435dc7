"""Which of open_clip's own models a repository of the hub holds."""

__all__ = ["tags_of_repository"]


def tags_of_repository(spec: str) -> tuple[str, ...]:
    """The models, as ARCH/TAG, whose weights open_clip takes from the repository that a spec `hf-hub:org/name` names;
    none for any other spec, and for repositories that open_clip does not know."""
    prefix, _, repository = spec.partition(":")
    if prefix != "hf-hub":
        return ()
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    return tuple(
        f"{model}/{tag}"
        for model, tag in open_clip.list_pretrained()
        if str(get_pretrained_cfg(model, tag).get("hf_hub", "")).rstrip("/") == repository
    )
