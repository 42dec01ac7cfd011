"""Random route tables and requests that hit them often: few hosts, paths, methods and headers, much overlap."""

from __future__ import annotations

from hypothesis import strategies as st

from atoll.gateway.match import Request
from atoll.model.names import HeaderName, HeaderValue, HostPattern, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share

HOSTS = ("shop.test", "api.shop.test", "*.shop.test", "*.test")
PATHS = ("/", "/api", "/api/orders", "/api/orders/7", "/apiary", "/api/o", "/x")
METHODS = ("GET", "POST", "DELETE")
HEADERS = {"x-canary": ("1", "2"), "x-tenant": ("a~b", "c")}
SERVICES = ("orders", "catalog", "payments")

matches = st.builds(
    Match,
    hosts=st.lists(st.sampled_from(HOSTS).map(HostPattern), unique=True, max_size=2).map(tuple),
    path=st.sampled_from(PATHS).map(PathText),
    exact=st.booleans(),
    methods=st.lists(st.sampled_from(METHODS), unique=True, max_size=2).map(tuple),
    headers=st.fixed_dictionaries(
        {}, optional={HeaderName(name): st.sampled_from(values).map(HeaderValue) for name, values in HEADERS.items()}
    ),
)
shares = st.lists(
    st.builds(Share, service=st.sampled_from(SERVICES).map(ServiceName), weight=st.integers(0, 20)),
    min_size=1,
    max_size=3,
    unique_by=lambda share: share.service,
).map(tuple)
rewrites = st.none() | st.sampled_from(("/", "/v2", "/v2/deep")).map(PathText)


@st.composite
def route_tables(draw: st.DrawFn, *, max_size: int = 10) -> list[Route]:
    """Up to `max_size` routes with distinct names."""
    made = draw(st.lists(st.tuples(matches, shares, rewrites), max_size=max_size))
    return [
        Route(name=RouteName(f"r{at}"), match=match, shares=to, rewrite=rewrite)
        for at, (match, to, rewrite) in enumerate(made)
    ]


requests = st.builds(
    Request,
    host=st.sampled_from(("shop.test", "api.shop.test", "x.shop.test", "a.b.shop.test", "other", "x.test")),
    path=st.sampled_from(
        ("/", "/api", "/api/", "/api/orders", "/api/orders/7/x", "/api/orders/77", "/apiary", "/apiaryx", "/x/y", "/o")
    ),
    method=st.sampled_from((*METHODS, "PUT", "HEAD")),
    headers=st.fixed_dictionaries(
        {}, optional={name: st.sampled_from((*values, "other", "a|b", "")) for name, values in HEADERS.items()}
    ),
)
