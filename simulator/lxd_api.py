"""Pretends to be LXD's REST API on a Unix socket: remembers entities in memory and runs nothing.

As LXD 5.0 it generates ETags and volatile keys, refuses what LXD refuses with LXD's status codes, and makes changes of
instances asynchronous. What happens inside an instance is what `Guests` says. A test makes it misbehave with `fail`.
"""

import hashlib
import json
import socketserver
import threading
import uuid
from collections.abc import Iterator
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_interface
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Json = dict[str, Any]
How = Literal[
    "refuse", "refuse-after", "drop", "hang", "slow", "lose", "break", "conflict", "busy", "half-read", "unmade"
]
"""500 without doing it; 500 after doing it; do it, then close the connection; never answer; an operation that is still
running when first asked for; an operation that is forgotten; an operation that fails; 412; another operation runs;
the image server's index is just being written; the folder for it is just being made."""
BEFORE = {
    "refuse": (500, "pretended failure"),
    "conflict": (412, "Precondition failed: pretended"),
    "busy": (400, 'Instance is busy running a "pretended" operation'),
    "unmade": (
        500,
        'Failed to connect to simple streams server "https://cloud-images.ubuntu.com/releases/": '
        "mkdir /var/cache/lxd/c75a7cef2922039c: file exists",
    ),
    "half-read": (500, 'Failed decoding stream JSON from "streams/v1/index.json": unexpected end of JSON input'),
}
PUT_FIELDS = ("config", "devices", "profiles", "ports", "description")
KINDS = ("projects", "storage-pools", "networks", "profiles", "instances", "images")


class ApiError(Exception):
    """LXD's answer to what it cannot do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guests:
    """What instances do when they are started, stopped, looked into."""

    def started(self, instance: Json) -> None: ...

    def stopped(self, instance: Json) -> None: ...

    def files(self, instance: Json) -> dict[str, str]:
        """Content by absolute path."""
        return {"/etc/ssh/ssh_host_ed25519_key.pub": f"ssh-ed25519 AAAA{instance['name']} root@{instance['name']}\n"}

    def write(self, instance: Json, path: str, text: str) -> None:
        """Replace a file in a folder that there is."""

    def execute(self, instance: Json, command: list[str]) -> tuple[int, str]:
        """Exit status and output."""
        return 0, "status: done\n"

    def stops(self, instance: Json) -> bool:
        """Whether it heeds a graceful stop."""
        return True


class LxdApi:
    """The pretend LXD; `entities` maps (kind, project, name) to what a GET shows."""

    def __init__(self, guests: Guests | None = None) -> None:
        self.guests = guests or Guests()
        self.entities: dict[tuple[str, str, str], Json] = {}
        self.folders = {"/dev", "/proc", "/sys"}
        """Of the host, that are there for instances to see."""
        self.requests: list[tuple[str, str]] = []
        self._operations: dict[str, Json] = {}
        self.logs: dict[str, str] = {}
        self._faults: list[tuple[str, str, How]] = []
        self._lock = threading.RLock()
        self._over = threading.Event()
        self.add("projects", "default", {"config": {"features.profiles": "true"}})
        self.add("profiles", "default", {"config": {}, "devices": {}})

    def add(self, kind: str, name: str, entity: Json, project: str = "default") -> None:
        """Put an entity there that nobody asked the API for."""
        key = (kind, project if kind in ("profiles", "instances", "images") else "", name)
        self.entities[key] = {"name": name, "config": {}, "description": "", **entity}

    def fail(self, method: str, path: str, how: How, times: int = 1) -> None:
        """Misbehave on the next requests whose path, after /1.0/, matches `path` (with * for anything)."""
        self._faults += [(method, path, how)] * times

    def serve(self, path: str) -> "Server":
        """Answer on a Unix socket in threads of its own until the server is shut down."""
        server = Server(path, self)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def respond(self, method: str, url: str, body: Json, if_match: str) -> tuple[int, Json | str, str] | None:
        """HTTP status, answer and ETag of one request; None to close the connection."""
        parts = urlsplit(url)
        path, query = unquote(parts.path).removeprefix("/1.0").strip("/"), dict(parse_qsl(parts.query))
        how = self._fault(method, path)
        if how == "hang":
            self._over.wait(60)
        with self._lock:
            self.requests.append((method, path))
            try:
                if how in BEFORE:
                    raise ApiError(*BEFORE[how])
                answer = self._route(method, path.split("/"), query, body, if_match)
                if how == "refuse-after":
                    raise ApiError(500, "pretended failure after the work was done")
            except ApiError as error:
                refusal = {"type": "error", "error": str(error), "error_code": error.status}
                return None if how in ("drop", "hang") else (error.status, refusal, "")
            if how in ("lose", "break", "slow"):
                self._spoil(answer, how)
        if how in ("drop", "hang"):
            return None
        if isinstance(answer, str):
            return 200, answer, ""
        if "operation" in answer:
            return 202, {"type": "async", "status_code": 100, **answer}, ""
        return 200, {"type": "sync", "status_code": 200, **answer}, etag_of(answer["metadata"])

    def close(self) -> None:
        self._over.set()

    def _fault(self, method: str, path: str) -> How | None:
        for fault in self._faults:
            if fault[0] == method and fnmatchcase(path, fault[1]):
                self._faults.remove(fault)
                return fault[2]
        return None

    def _spoil(self, answer: Json | str, how: str) -> None:
        id_ = answer["operation"].rpartition("/")[2] if isinstance(answer, dict) else ""
        if how == "lose":
            del self._operations[id_]
        elif how == "break":
            self._operations[id_].update(status="Failure", status_code=400, err="pretended failure of the operation")
        else:
            self._operations[id_]["slow"] = True

    def _route(self, method: str, path: list[str], query: Json, body: Json, if_match: str) -> Json | str:
        project = query.get("project", "default")
        match method, *path:
            case "GET", "":
                return {"metadata": {"auth": "trusted", "api_extensions": ["projects"], "environment": {}}}
            case "GET", "operations", id_, "wait":
                return {"metadata": self._operation(id_)}
            case "GET", "instances", name, "state":
                return {"metadata": {"network": self._interfaces(self._found("instances", project, name))}}
            case "PUT", "instances", name, "state":
                return self._done(self._change_state, self._found("instances", project, name), body)
            case "POST", "instances", name, "exec":
                return self._done(self._execute, self._found("instances", project, name), body)
            case "GET" | "POST", "instances", name, "files":
                return self._file(method, self._found("instances", project, name), query["path"], body)
            case "GET", "instances", _, "logs", log:
                return self.logs[log]
            case "DELETE", "instances", _, "logs", log:
                del self.logs[log]
                return {"metadata": None}
            case _, "networks", network, "forwards":
                return self._entities("forwards", f"{network}/{body['listen_address']}", "", body)
            case _, "networks", network, "forwards", address:
                return self._entity(method, ("forwards", "", f"{network}/{address}"), body, if_match)
            case "GET", kind if kind in KINDS:
                return {"metadata": self._all(kind, project)}
            case "POST", kind if kind in KINDS:
                return self._entities(kind, body["name"], project, body)
            case _, kind, name if kind in KINDS:
                return self._entity(method, self._key(kind, project, name), body, if_match)
        raise ApiError(404, f"not found: {method} {'/'.join(path)}")

    def _all(self, kind: str, project: str) -> list[Json]:
        keys = [key for key in self.entities if key == self._key(kind, project, key[2])]
        return [{**self.entities[key], "used_by": list(self._users(*key))} for key in keys]

    def _key(self, kind: str, project: str, name: str) -> tuple[str, str, str]:
        return kind, project if kind in ("profiles", "instances", "images") else "", name

    def _found(self, kind: str, project: str, name: str) -> Json:
        try:
            return self.entities[self._key(kind, project, name)]
        except KeyError:
            raise ApiError(404, f"{kind} {name} not found") from None

    def _entities(self, kind: str, name: str, project: str, body: Json) -> Json:
        key = self._key(kind, project, name)
        exists = {"profiles": 500, "networks": 400, "storage-pools": 409, "forwards": 409}.get(kind, 400)
        if key in self.entities and kind != "instances":
            raise ApiError(exists, "The entity already exists")
        _refuse_what_is_no_string(body)
        if kind == "instances":
            return self._done(self._create_instance, key, body)
        config = dict(body.get("config", {}))
        if kind == "networks":
            config = {"ipv4.address": "auto", "ipv4.nat": "true", "ipv6.address": "none", **config}
            if config["ipv4.address"] == "auto":
                config["ipv4.address"] = "10.99.0.1/24"
        if kind == "storage-pools":
            config.setdefault("source", f"/var/lib/lxd/storage-pools/{name}")
        self.entities[key] = {"description": "", **body, "config": config}
        if kind == "forwards":
            self.entities[key]["ports"] = [{"description": "", **port} for port in body["ports"]]
        if kind == "projects":
            self.add("profiles", "default", {"config": {}, "devices": {}}, project=name)
        return {"metadata": None}

    def _entity(self, method: str, key: tuple[str, str, str], body: Json, if_match: str) -> Json:
        kind, project, name = key
        entity = self._found(*key)
        users = list(self._users(kind, project, name))
        shown = {**entity, "used_by": users} | (self._expanded(entity, project) if kind == "instances" else {})
        if method == "GET":
            return {"metadata": shown}
        if method == "PUT":
            if if_match and if_match != etag_of(shown):
                raise ApiError(412, "Precondition failed: ETag doesn't match")
            _refuse_what_is_no_string(body)
            if kind == "instances":
                self._refuse_devices(key, entity | {field: body[field] for field in PUT_FIELDS if field in body})
            if kind == "profiles":
                self._refuse_root(project, name, body)
            if kind == "projects" and [user for user in users if "/profiles/default" not in user]:
                before, after = (
                    {key: value for key, value in its["config"].items() if key.startswith("features.")}
                    for its in (entity, body)
                )
                if before != after:
                    raise ApiError(400, "Features can only be changed on empty projects")
            kept = {"instances": "volatile.uuid", "storage-pools": "source"}.get(kind)
            if kept and entity["config"].get(kept) != body["config"].get(kept):
                raise ApiError(400, f"{kept} cannot be changed")
            entity.update({field: body[field] for field in PUT_FIELDS if field in body})
            return self._done() if kind == "instances" else {"metadata": None}
        if name == "default" and kind in ("profiles", "projects"):
            raise ApiError(403, f"The default {kind} cannot be deleted")
        if [user for user in users if kind != "projects" or "/profiles/default" not in user]:
            raise ApiError(400, f"The {kind} is currently in use")
        if kind == "instances":
            return self._done(self._delete_instance, key, shown)
        del self.entities[key]
        if kind == "projects":
            del self.entities["profiles", name, "default"]
        return {"metadata": None}

    def _users(self, kind: str, project: str, name: str) -> Iterator[str]:
        field = {"storage-pools": "pool", "networks": "network"}.get(kind)
        for (user_kind, user_project, user), entity in self.entities.items():
            devices = entity.get("devices", {}).values()
            if (
                (field and any(device.get(field) == name for device in devices))
                or (kind == "profiles" and user_project == project and name in entity.get("profiles", []))
                or (kind == "projects" and user_project == name)
            ):
                yield f"/1.0/{user_kind}/{user}" + (f"?project={user_project}" if user_project != "default" else "")

    def _expanded(self, instance: Json, project: str) -> Json:
        layers = [self._found("profiles", project, profile) for profile in instance["profiles"]] + [instance]
        expanded: Json = {"expanded_config": {}, "expanded_devices": {}}
        for layer in layers:
            expanded["expanded_config"] |= layer["config"]
            expanded["expanded_devices"] |= layer["devices"]
        return expanded

    def _file(self, method: str, instance: Json, path: str, body: Json) -> Json | str:
        files = self.guests.files(instance)
        if method == "POST":
            if not any(file.startswith(f"{path.rpartition('/')[0]}/") for file in files):
                raise ApiError(404, "open: no such file or directory")
            self.guests.write(instance, path, body["content"])
            return {"metadata": None}
        if path in files:
            return files[path]
        inside = [file for file in files if file.startswith(f"{path}/")]
        if not inside:
            raise ApiError(404, "not found")
        return {"metadata": inside}

    def _refuse_devices(self, key: tuple[str, str, str], instance: Json) -> None:
        """As LXD validates the devices of an instance that is created or changed."""
        wrong = "Invalid devices: "
        devices = self._expanded(instance, key[1])["expanded_devices"]
        roots = [device for device in devices.values() if (device["type"], device.get("path")) == ("disk", "/")]
        if not roots:
            raise ApiError(400, f"{wrong}Failed detecting root disk device: No root device could be found")
        if ("storage-pools", "", roots[0]["pool"]) not in self.entities:
            raise ApiError(400, f"{wrong}Failed to get storage pool {roots[0]['pool']!r}: Storage pool not found")
        others = {
            device["ipv4.address"]: other[2]
            for other, entity in self.entities.items()
            if other[0] == "instances" and other != key
            for device in entity["devices"].values()
            if "ipv4.address" in device
        }
        for name, device in devices.items():
            source = device.get("source", "")
            if (
                device["type"] == "disk"
                and source
                and not any(f"{source}/".startswith(f"{its}/") for its in self.folders)
            ):
                raise ApiError(400, f"{wrong}Device validation failed for {name!r}: Missing source path {source!r}")
        for name, device in devices.items():
            if device["type"] != "nic" or "ipv4.address" not in device:
                continue
            address, network = device["ipv4.address"], device["network"]
            subnet = ip_interface(self._found("networks", "", network)["config"]["ipv4.address"]).network
            failed = f'{wrong}Device validation failed for "{name}": '
            if ip_address(address) not in subnet:
                raise ApiError(400, f'{failed}Device IP address "{address}" not within network "{network}" subnet')
            if address in others:
                raise ApiError(400, f'{failed}IP address "{address}" already defined on instance "{others[address]}"')

    def _refuse_root(self, project: str, name: str, new: Json) -> None:
        """LXD keeps the root disk of a profile in its pool while it is an instance's."""
        before = pool_of_root(self.entities["profiles", project, name]["devices"])
        users = [
            entity
            for (kind, its_project, _), entity in self.entities.items()
            if kind == "instances" and its_project == project and name in entity["profiles"]
        ]
        if before not in (None, pool_of_root(new["devices"])) and any(not pool_of_root(u["devices"]) for u in users):
            raise ApiError(400, "At least one instance relies on this profile's root disk device")

    # What operations do.

    def _done(self, work: Any = None, *arguments: Any) -> Json:
        id_ = str(uuid.uuid4())
        operation: Json = {"id": id_, "description": "Pretended", "status": "Success", "status_code": 200, "err": ""}
        try:
            operation["metadata"] = work(*arguments) if work else None
        except ApiError as error:
            operation |= {"status": "Failure", "status_code": 400, "err": str(error)}
        self._operations[id_] = operation
        return {"operation": f"/1.0/operations/{id_}"}

    def _operation(self, id_: str) -> Json:
        if id_ not in self._operations:
            raise ApiError(404, "Operation not found")
        operation = self._operations[id_]
        running = {"status": "Running", "status_code": 103} if operation.pop("slow", False) else {}
        return operation | running

    def _create_instance(self, key: tuple[str, str, str], body: Json) -> None:
        if key in self.entities:
            raise ApiError(400, f'Instance "{key[2]}" already exists')
        source, local = body["source"], {name for kind, _, name in self.entities if kind == "images"}
        if "server" not in source and source["alias"] not in local:
            raise ApiError(404, f'Image "{source["alias"]}" not found')
        system = source["alias"].partition("-")[0] if source["alias"] in local else "ubuntu"
        config = {"volatile.uuid": str(uuid.uuid4()), "image.os": system, **body["config"]}
        instance = {**body, "config": config, "status": "Stopped", "description": "", "project": key[1]}
        self._refuse_devices(key, instance)
        self.entities[key] = instance
        for name, device in self._expanded(instance, key[1])["expanded_devices"].items():
            if device["type"] == "nic":
                config[f"volatile.{name}.hwaddr"] = mac_of(config["volatile.uuid"], name)

    def _change_state(self, instance: Json, body: Json) -> None:
        action = body["action"]
        if action == "stop":
            if instance["status"] == "Stopped":
                raise ApiError(400, "The instance is already stopped")
            if not body["force"] and not self.guests.stops(instance):
                raise ApiError(400, "Failed shutting down instance: context deadline exceeded")
            self.guests.stopped(instance)
            instance["status"] = "Stopped"
        else:
            if instance["status"] == "Stopped":
                devices = self._expanded(instance, instance["project"])["expanded_devices"]
                instance["leases"] = {name: device.get("ipv4.address") for name, device in devices.items()}
            instance["status"] = "Running"
            self.guests.started(instance)

    def _delete_instance(self, key: tuple[str, str, str], shown: Json) -> None:
        if shown["status"] != "Stopped":
            raise ApiError(400, "Instance is running")
        if shown["expanded_config"].get("security.protection.delete") == "true":
            raise ApiError(400, "Instance is protected")
        del self.entities[key]

    def _execute(self, instance: Json, body: Json) -> Json:
        status, output = self.guests.execute(instance, body["command"])
        log = f"exec_{uuid.uuid4()}.stdout"
        self.logs[log] = output
        return {"return": status, "output": {"1": f"/1.0/instances/{instance['name']}/logs/{log}"}}

    def _interfaces(self, instance: Json) -> Json:
        """The loopback, and one interface for each network device: its static address, or one of the bridge's."""
        loopback = {"family": "inet", "address": "127.0.0.1", "netmask": "8", "scope": "local"}
        interfaces = {"lo": {"hwaddr": "", "addresses": [loopback]}}
        if instance["status"] != "Running":
            return {}
        devices = self._expanded(instance, instance["project"])["expanded_devices"]
        for name, device in devices.items():
            if device["type"] != "nic":
                continue
            bridge = self._found("networks", "", device["network"])["config"]["ipv4.address"]
            addresses = [{"family": "inet6", "address": "fe80::1", "netmask": "64", "scope": "link"}]
            if bridge != "none":
                chosen = str(ip_interface(bridge).network[100 + int(mac_of(instance["name"], name)[-2:], 16) % 100])
                address = instance.get("leases", {}).get(name) or chosen  # of its start, whatever is configured since
                addresses += [{"family": "inet", "address": address, "netmask": "24", "scope": "global"}]
            hwaddr = instance["config"].get(f"volatile.{name}.hwaddr") or mac_of(instance["name"], name)
            interfaces[device.get("name", name)] = {"hwaddr": hwaddr, "addresses": addresses}
        return interfaces


class Server(socketserver.ThreadingUnixStreamServer):
    """HTTP on a Unix socket."""

    daemon_threads = True

    def __init__(self, path: str, api: LxdApi) -> None:
        self.api = api
        super().__init__(path, Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_file = urlsplit(self.path).path.endswith("/files")
        body = {"content": sent.decode()} if is_file else json.loads(sent or "{}")
        response = self.server.api.respond(self.command, self.path, body, self.headers.get("If-Match", ""))
        if response is None:
            self.close_connection = True
            return
        status, payload, etag = response
        content = payload if isinstance(payload, str) else json.dumps({"metadata": None, **payload})
        self.send_response(status)
        self.send_header("Content-Length", str(len(content.encode())))
        self.send_header("ETag", etag)
        if is_file:
            self.send_header("X-LXD-uid", "1000")
            self.send_header("X-LXD-gid", "1000")
        self.end_headers()
        self.wfile.write(content.encode())

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def etag_of(shown: Any) -> str:
    fields = {field: shown.get(field) for field in PUT_FIELDS} if isinstance(shown, dict) else shown
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def pool_of_root(devices: Json) -> str | None:
    return next((d["pool"] for d in devices.values() if (d["type"], d.get("path")) == ("disk", "/")), None)


def mac_of(instance: str, device: str) -> str:
    digest = hashlib.sha256(f"{instance}/{device}".encode()).hexdigest()
    return ":".join(["00", "16", "3e", digest[0:2], digest[2:4], digest[4:6]])


def _refuse_what_is_no_string(body: Json) -> None:
    for value in body.get("config", {}).values():
        if not isinstance(value, str):
            raise ApiError(400, f"json: cannot unmarshal {type(value).__name__} into Go struct field of type string")
