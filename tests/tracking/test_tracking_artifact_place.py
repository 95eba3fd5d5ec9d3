"""Whoever writes to the database does not choose which host is sent the tracking server's password."""

import pytest

from fedpriv.errors import UserError
from fedpriv.tracking.artifact_place import require_own_place

DATABASE = "sqlite:////tmp/mlflow.db"


@pytest.mark.parametrize(
    ("place", "server"),
    [
        ("/srv/artifacts/1", DATABASE),
        ("file:///srv/a b/1", DATABASE),
        ("s3://bucket/1", DATABASE),
        ("gs://bucket/1", "http://own:5000"),
        ("abfss://box@account.dfs.core.windows.net/1", DATABASE),
        ("mlflow-artifacts:/1/models", "http://own:5000"),
        ("mlflow-artifacts://own:5000/1", "http://own:5000"),
        ("mlflow-artifacts://own/1", "https://own"),
        ("http://OWN:5000/api/1", "http://own:5000"),
        ("https://own:443/api/1", "https://user@own"),
        ("http://[::1]:5000/1", "http://[::1]:5000"),
        ("sftp://own/srv", "postgresql://own/db"),
    ],
)
def test_folders_buckets_and_the_servers_own_host_are_admitted(place, server):
    require_own_place(place, server)


@pytest.mark.parametrize(
    ("place", "server"),
    [
        ("http://elsewhere/1", "http://own:5000"),
        ("http://own:5001/1", "http://own:5000"),
        ("http://own/1", "https://own"),  # would say the password in the clear
        ("https://own.elsewhere/1", "https://own"),
        ("https://own@elsewhere/1", "https://own"),
        ("https://elsewhere\\@own/1", "https://own"),
        ("http:elsewhere/1", "http://own"),
        ("http://elsewhere/1", DATABASE),
        ("HTTP://elsewhere/1", DATABASE),
        (" http://elsewhere/1", DATABASE),
        ("http://own:none/1", "http://own"),
        ("http://[own/1", "http://own"),
        ("mlflow-artifacts://elsewhere/1", "http://own:5000"),
        ("mlflow-artifacts://elsewhere/1", DATABASE),
        ("ftp://elsewhere/1", "http://own"),
        ("sftp:///1", DATABASE),
        ("abfss://box@account.elsewhere/1", DATABASE),
        ("r2://box@elsewhere/.r2.cloudflarestorage.com", DATABASE),
        ("runs:/0123/model", DATABASE),
        ("models:/other/1", DATABASE),
        ("unknown://own/1", "http://own"),
    ],
)
def test_other_hosts_and_what_leads_elsewhere_are_refused_in_one_line(place, server):
    with pytest.raises(UserError, match="tracking server's own host") as caught:
        require_own_place(place, server)
    assert "\n" not in str(caught.value)


def test_a_password_in_the_address_is_not_repeated():
    with pytest.raises(UserError) as caught:
        require_own_place("ftp://user:hunter2pw@elsewhere/1", DATABASE)
    assert "hunter2pw" not in str(caught.value)
