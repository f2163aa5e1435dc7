"""Postcards: a drawn world with its own captions, a test split, and a small dual encoder trained on it.

    scene       what a postcard shows: the specification, its sampling, its facts
    backdrop    draws sky and land        things    draws houses, boats, balloons, ...
    render      scene -> picture          captions  scene -> five captions and what each claims
    queries     queries fixed before training, each with a predicate over facts
    oracle      who is consistent with whom, the ceiling of R@k, R@k itself
    dataset     writes data/postcards     cache     pre-renders training scenes
    plain_words     a plain sentence for a scene, questions and answers      train_describer  trains the demo describer
    network     the open_clip configuration and the export      train  the training loop      score  the report

Nothing here is imported by the package: these are the tools that made data/postcards and the demo model.
"""
