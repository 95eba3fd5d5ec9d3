"""Overrides of a small run on patterns, whose training tests follow step by step."""

SMALL = (
    "task=classification",
    "data.people=6",
    "data.images_per_person=12",
    "data.classes=3",
    "data.size=20",
    "evaluation.test_subjects=2",
    "evaluation.pictures=0",
    "training.batch_size=10",
    "federation.rounds=3",
)
