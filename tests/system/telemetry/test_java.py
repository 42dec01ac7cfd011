"""A Java service with an agent jar configured: the JVM loads it, and what it exports by the usual variables arrives.

The jar is a stand-in of thirty lines, compiled here: OpenTelemetry's own is on none of the registries we install from. It
reads the same variables (endpoint, headers, service name, resource attributes) and sends one span when the JVM starts.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.platform.stage import Platform, closing, free_port, until

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
    pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK (apt-get install default-jdk-headless)"),
]
AGENT = """
import java.net.*; import java.nio.charset.StandardCharsets; import java.util.Map;
public class Agent {
  public static void premain(String given) throws Exception {
    Map<String, String> e = System.getenv();
    for (int i = 0; ; i++) try { export(e); return; } catch (ConnectException away) { if (i > 100) return; Thread.sleep(100); }
  }
  static void export(Map<String, String> e) throws Exception {
    URL url = new URL(e.get("OTEL_EXPORTER_OTLP_ENDPOINT") + "/v1/traces");
    HttpURLConnection c = (HttpURLConnection) url.openConnection();
    c.setDoOutput(true);
    c.setRequestProperty("Content-Type", "application/json");
    for (String pair : e.get("OTEL_EXPORTER_OTLP_HEADERS").split(",")) {
      int at = pair.indexOf('=');
      c.setRequestProperty(pair.substring(0, at), URLDecoder.decode(pair.substring(at + 1), StandardCharsets.UTF_8));
    }
    long now = System.currentTimeMillis() * 1000000L;
    StringBuilder attributes = new StringBuilder(pair("service.name", e.get("OTEL_SERVICE_NAME")));
    for (String one : e.get("OTEL_RESOURCE_ATTRIBUTES").split(",")) {
      String[] words = one.split("=", 2);
      attributes.append(",").append(pair(words[0], words[1]));
    }
    String span = "{\\"traceId\\":\\"0af7651916cd43dd8448eb211c80319c\\",\\"spanId\\":\\"b7ad6b7169203331\\",\\"name\\":\\"jvm start\\","
      + "\\"kind\\":2,\\"startTimeUnixNano\\":\\"" + now + "\\",\\"endTimeUnixNano\\":\\"" + (now + 1000000) + "\\"}";
    String body = "{\\"resourceSpans\\":[{\\"resource\\":{\\"attributes\\":[" + attributes + "]},"
      + "\\"scopeSpans\\":[{\\"spans\\":[" + span + "]}]}]}";
    c.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    System.out.println("exported: " + c.getResponseCode());
  }
  static String pair(String key, String value) {
    return "{\\"key\\":\\"" + key + "\\",\\"value\\":{\\"stringValue\\":\\"" + value + "\\"}}";
  }
}
"""
WEB = """
import com.sun.net.httpserver.HttpServer; import java.net.InetSocketAddress;
public class Web {
  public static void main(String[] given) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
    server.createContext("/", exchange -> { exchange.sendResponseHeaders(200, 2); exchange.getResponseBody().write("ok".getBytes());
      exchange.close(); });
    server.start();
  }
}
"""
PROJECT = """
name: jvm
services:
  web: {command: java -Xmx64m -cp classes Web, healthcheck: {http: /}, otel: {java_agent: "the agent.jar"}}
gateway:
  routes: [{match: {path_prefix: /}, service: web}]
"""


def built(folder: Path) -> None:
    """`classes/Web.class` and `the agent.jar` in `folder`."""
    for name, text in (("Web", WEB), ("Agent", AGENT)):
        (folder / f"{name}.java").write_text(text)
    subprocess.run(["javac", "-d", "classes", "Web.java", "Agent.java"], cwd=folder, check=True, timeout=60)
    (folder / "manifest").write_text("Premain-Class: Agent\n")
    jar = ["jar", "--create", "--file", "the agent.jar", "--manifest", "manifest", "-C", "classes", "Agent.class"]
    subprocess.run(jar, cwd=folder, check=True, timeout=60)


@pytest.mark.slow
def test_a_jvm_loads_the_agent_and_what_it_sends_is_found() -> None:
    knobs = {
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
    }
    with closing(Platform.of(PROJECT, **knobs)) as platform:
        built(platform.folder)
        platform.up()
        assert platform.get("/").body == b"ok"
        until(lambda: "exported: 200" in platform("logs", "web").out, "the agent's span was taken")
        found = until(lambda: platform("traces", "--service", "web", "--json").json, "it is found")
        assert "jvm start" in str(found)
        shown = platform("env", "web").out
        assert "JAVA_TOOL_OPTIONS" in shown
