"""Debian's nginx in front of the pods, as an Ingress controller drives it: it keeps connections to
pods alive, and learns of endpoints without a reload.
"""

from collections.abc import Sequence
from pathlib import Path

import aiohttp

from deploy.local import ports
from deploy.local.environment import ROOT
from deploy.local.ports import HOST
from deploy.local.process import Launch, Supervisor

_MODULES = Path("/usr/lib/nginx/modules")
_NAME = "nginx"
# By service, with the header that says which pod a call went to.
_SERVER = """
  upstream {service} {{
    server 0.0.0.1;
    balancer_by_lua_block {{ pick("{service}") }}
    keepalive 320;
    keepalive_timeout 60s;
  }}
  server {{
    listen {host}:{port};
    location / {{
      proxy_pass http://{service};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      add_header x-upstream $upstream_addr always;
      {directives}
    }}
  }}
"""
_CONFIG = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  lua_shared_dict endpoints 1m;
  init_by_lua_block {{
    local balancer = require "ngx.balancer"
    function pick(service)
      local endpoints = ngx.shared.endpoints
      local pods = {{}}
      for pod in (endpoints:get(service) or ""):gmatch("%S+") do pods[#pods + 1] = pod end
      if #pods == 0 then return ngx.exit(503) end
      local turn = endpoints:incr(service .. " turn", 1, 0)
      local host, port = pods[turn % #pods + 1]:match("^(.*):(%d+)$")
      assert(balancer.set_current_peer(host, tonumber(port)))
    end
  }}
  {servers}
  server {{
    listen {host}:{control};
    location / {{
      content_by_lua_block {{
        ngx.req.read_body()
        ngx.shared.endpoints:set(ngx.var.uri:sub(2), ngx.req.get_body_data() or "")
        ngx.say("ok")
      }}
    }}
  }}
}}
"""


class Front:
    """Serves each of the `services` at `url(service)`."""

    def __init__(
        self, binary: str, directory: Path, services: Sequence[str], directives: Sequence[str]
    ) -> None:
        self._binary = binary
        self._directory = directory
        used: set[int] = set()
        self._ports: dict[str, int] = {}
        for name in (*services, _NAME):
            self._ports[name] = ports.pick_free(avoid=frozenset(used))
            used.add(self._ports[name])
        servers = [
            _SERVER.format(
                service=service,
                host=HOST,
                port=self._ports[service],
                directives="\n      ".join(directives),
            )
            for service in services
        ]
        self._config = _CONFIG.format(
            modules=_MODULES,
            directory=directory,
            servers="".join(servers),
            host=HOST,
            control=self._ports[_NAME],
        )

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self._ports[service]}"

    def start(self, supervisor: Supervisor) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nginx.conf"
        config.write_text(self._config)
        command = (self._binary, "-p", str(self._directory), "-c", str(config))
        supervisor.spawn(
            Launch(name=_NAME, command=command, environment={}, directory=ROOT, digest="")
        )

    async def set_endpoints(self, service: str, pods: Sequence[str]) -> None:
        """`pods` are `host:port`."""
        url = f"{self.url(_NAME)}/{service}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=" ".join(pods)) as response,
        ):
            assert await response.text() == "ok\n"
