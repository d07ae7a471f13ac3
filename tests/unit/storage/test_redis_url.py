import pytest

from libs.common.settings import SettingsError
from libs.common.storage.redis.cluster import ClusterPool
from libs.common.storage.redis.master import TlsConnection
from libs.common.storage.redis.sentinel import (
    MasterConnection,
    TlsMasterConnection,
    open_master_pool,
)
from libs.common.storage.redis.url import (
    ClusterUrl,
    SentinelUrl,
    WrongRedisUrl,
    check_redis_url,
    is_cluster_url,
    is_sentinel_url,
    parse_cluster_url,
    parse_sentinel_url,
)


def test_the_sentinels_and_the_name_of_their_master() -> None:
    url = parse_sentinel_url("redis+sentinel://one:26380,two,[::1]:1,[2001:db8::2]/my.master-1")
    assert url == SentinelUrl(
        sentinels=(("one", 26380), ("two", 26379), ("::1", 1), ("2001:db8::2", 26379)),
        master="my.master-1",
        tls=False,
        options={"db": 0},
        sentinel_options={},
    )


@pytest.mark.parametrize(
    ("userinfo", "options"),
    [
        ("", {}),
        ("app:pa%40ss%2Fword@", {"username": "app", "password": "pa@ss/word"}),
        (":pa:ss@", {"password": "pa:ss"}),
        (":p@ss@", {"password": "p@ss"}),
    ],
)
def test_the_login_is_for_the_servers(userinfo: str, options: dict[str, str]) -> None:
    url = parse_sentinel_url(f"redis+sentinel://{userinfo}host/mymaster/3")
    assert (url.options, url.sentinel_options) == ({"db": 3, **options}, {})


def test_sentinels_have_their_own_login() -> None:
    url = parse_sentinel_url(
        "redis+sentinel://:servers@host/mymaster/?sentinel_username=watch&sentinel_password=a%26b"
    )
    assert url.options == {"db": 0, "password": "servers"}
    assert url.sentinel_options == {"username": "watch", "password": "a&b"}


async def test_tls_applies_to_the_sentinels() -> None:
    url = parse_sentinel_url(
        "rediss+sentinel://host/mymaster?ssl_ca_certs=/ca.pem&ssl_check_hostname=true"
    )
    tls = {"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}
    assert (url.tls, url.options, url.sentinel_options) == (True, {"db": 0, **tls}, tls)
    async with open_master_pool(url) as pool:
        assert pool.connection_class is TlsMasterConnection
        assert pool.sentinel_manager.sentinel_kwargs.items() >= {"ssl": True, **tls}.items()
    async with open_master_pool(parse_sentinel_url("redis+sentinel://host/mymaster")) as pool:
        assert pool.connection_class is MasterConnection


def test_the_nodes_of_a_cluster() -> None:
    url = parse_cluster_url("redis+cluster://us%40er:pa:ss@one:7000,two,[::1]:1/?shards=32")
    assert url == ClusterUrl(
        nodes=(("one", 7000), ("two", 6379), ("::1", 1)),
        tls=False,
        shards=32,
        options={"username": "us@er", "password": "pa:ss"},
    )
    assert parse_cluster_url("REDIS+CLUSTER://host/0").shards == 6


async def test_tls_applies_to_the_nodes() -> None:
    url = parse_cluster_url("rediss+cluster://:hush@host?ssl_ca_certs=/ca&ssl_check_hostname=false")
    assert url.options == {"password": "hush", "ssl_ca_certs": "/ca", "ssl_check_hostname": False}
    assert "hush" not in repr(url)
    pool = ClusterPool(url, max_connections=3, timeout=1.0).nodes.pool_at(("127.0.0.1", 7001))
    connection = pool.make_connection()
    assert isinstance(connection, TlsConnection)
    assert (connection.host, connection.port, connection.password) == ("127.0.0.1", 7001, "hush")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+cluster://", "its nodes must be host"),
        ("redis+cluster://one,,two", "its nodes must be host"),
        ("redis+cluster://one:hush", "a node's port must be a number"),
        ("redis+cluster://one/1", "only database 0"),
        ("redis+cluster://one/mymaster", "only database 0"),
        ("redis+cluster://one?shards=0", "shards must be a number from 1 to 1024"),
        ("redis+cluster://one?shards=1025", "shards must be a number from 1 to 1024"),
        ("redis+cluster://one?shards=hush", "shards must be a number from 1 to 1024"),
        ("redis+cluster://one?shards=", "shards must be a number from 1 to 1024"),
        ("redis+cluster://one?hush=1", "unknown options; the known ones are shards, ssl_ca_certs"),
        ("redis+cluster://one?ssl_ca_certs=/ca", r"TLS options need rediss\+cluster://"),
        ("redis+sentinel://", "must name the sentinels' master"),
        ("redis+sentinel:///mymaster", "must be host"),
        ("redis+sentinel://one,,two/mymaster", "must be host"),
        ("redis+sentinel://::1/mymaster", "must be host"),
        ("redis+sentinel://one:/mymaster", "must be a number from 1 to 65535"),
        ("redis+sentinel://one:hush/mymaster", "must be a number from 1 to 65535"),
        ("redis+sentinel://one:0/mymaster", "must be a number from 1 to 65535"),
        ("redis+sentinel://one:65536/mymaster", "must be a number from 1 to 65535"),
        ("redis+sentinel://one:26379", "must name the sentinels' master"),
        ("redis+sentinel://one:26379/", "must name the sentinels' master"),
        ("redis+sentinel://one:26379//0", "must name the sentinels' master"),
        ("redis+sentinel://one:26379/my master", "must name the sentinels' master"),
        ("redis+sentinel://one:26379/mymaster/hush", "number of a database"),
        ("redis+sentinel://one:26379/mymaster/-1", "number of a database"),
        ("redis+sentinel://one:26379/mymaster/0/1", "number of a database"),
        ("redis+sentinel://one:26379/mymaster?hush=1", "unknown options"),
        ("redis+sentinel://one:26379/mymaster?ssl_ca_certs=/ca.pem", "need rediss"),
    ],
)
def test_an_invalid_url_is_rejected_without_showing_it(url: str, fault: str) -> None:
    parse = parse_cluster_url if is_cluster_url(url) else parse_sentinel_url
    with pytest.raises(WrongRedisUrl, match=fault) as error:
        parse(url)
    assert "hush" not in str(error.value)
    with pytest.raises(SettingsError, match=f"^REDIS_URL is wrong: .*{fault}") as setting:
        check_redis_url(url)
    assert "hush" not in str(setting.value)


@pytest.mark.parametrize(
    "url", ["http://:hush@host", "sentinel://:hush@host", "hush", "redis://:hush@host:port"]
)
def test_other_schemes_are_rejected(url: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_URL is wrong: it must be redis://") as error:
        check_redis_url(url)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "rediss://user:password@host:6380/1",
        "unix:///run/redis.sock",
        "redis+sentinel://host/mymaster",
        "REDISS+SENTINEL://host/mymaster",
        "redis+cluster://host,host2:7000",
    ],
)
def test_valid_urls_are_accepted(url: str) -> None:
    check_redis_url(url)
    assert is_sentinel_url(url) == ("sentinel" in url.lower())


def test_passwords_are_not_shown() -> None:
    url = "redis+sentinel://:hush@host/mymaster?sentinel_password=hush"
    assert "hush" not in repr(parse_sentinel_url(url))
