"""The smallest configuration that passes every check."""

SMALL = (
    "task=classification",
    "data.people=10",
    "data.images_per_person=4",
    "data.classes=3",
    "data.size=20",
    "federation.clients=3",
    "evaluation.test_subjects=3",
)
