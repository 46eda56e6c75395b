"""The pretend host: an SSH server on loopback, with a pretend LXD and pretend nodes behind it.

Real are SSH, its keys, and the program's use of them; what the scripts do is `shell`'s. The machine lives and dies with
the pretend cloud's instance (linode.json). Faults (see `memory`): failing "ssh" refuses connections, "ssh/ID" those to
the cloud's instance of that ID; hanging "ssh" accepts them and says nothing.
"""

import asyncio
import json
import logging
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import asyncssh

from simulator import memory
from simulator.k3s import Node, nodes
from simulator.linode import INSTANCE
from simulator.lxd_api import Guests, Json, LxdApi
from simulator.script import ExitError, called
from simulator.shell import READING, SOCKET, Shell

EXISTING = "existing"
"""Identity of a machine that no cloud made."""
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


class Machines(Guests):
    """Instances as far as SSH sees them: at its first start each gets a host key, and the users' keys by cloud-init."""

    def __init__(self) -> None:
        self.lxd: LxdApi

    def started(self, instance: Json) -> None:
        profiles = [self.lxd.entities["profiles", instance["project"], name] for name in instance["profiles"]]
        config = {k: v for layer in (*profiles, instance) for k, v in layer["config"].items()}
        header, _, data = config.get("cloud-init.user-data", "").partition("\n")
        keys = json.loads(data)["ssh_authorized_keys"] if header == "#cloud-config" else []
        with memory.opened("host") as state:
            its = state.setdefault("nodes", {}).setdefault(instance["config"]["volatile.uuid"], {})
            # With other data cloud-init takes the next start for a first one (canonical/lxd#17063).
            if its.get("user_data") != data:
                its |= {"host_key": new_key(), "authorized_keys": keys, "user_data": data}

    def files(self, instance: Json) -> dict[str, str]:
        its = memory.read("host").get("nodes", {}).get(instance["config"]["volatile.uuid"])
        if not its:
            return {}
        keys = "".join(f"{key}\n" for key in its["authorized_keys"])
        return {HOST_KEY: public_half(its["host_key"]), keys_of(instance): keys}

    def write(self, instance: Json, path: str, text: str) -> None:
        with memory.opened("host") as state:
            if path == keys_of(instance):
                state["nodes"][instance["config"]["volatile.uuid"]]["authorized_keys"] = text.splitlines()


class RememberedLxd(LxdApi):
    """The pretend LXD, kept in lxd.json between runs."""

    def __init__(self) -> None:
        self.machines = Machines()
        super().__init__(self.machines)
        self.machines.lxd = self
        self.entities |= {tuple(key): entity for key, entity in memory.read("lxd").get("entities", [])}

    def forget(self) -> None:
        """A new machine has no instances, and another LXD."""
        self.entities.clear()
        self.entities |= LxdApi().entities

    def respond(self, method: str, url: str, body: Json, if_match: str) -> tuple[int, Json | str, str] | None:
        answer = super().respond(method, url, body, if_match)
        if method != "GET":
            self.save()
        return answer

    def save(self) -> None:
        with memory.opened("lxd") as state, memory.opened("host") as host:
            state["entities"] = [[list(key), entity] for key, entity in self.entities.items()]
            # What was inside a deleted instance went with it, and a cluster with its last server.
            alive = {e["config"].get("volatile.uuid") for (kind, *_), e in self.entities.items() if kind == "instances"}
            host["nodes"] = {id_: its for id_, its in host.get("nodes", {}).items() if id_ in alive}
            if alive.isdisjoint(host.get("cluster", {"members": {}})["members"].values()):
                host.pop("cluster", None)
                with memory.opened("kubernetes") as objects:
                    objects.clear()


class Door(asyncssh.SSHServer):
    """What a connection to the host, or to a node, may ask for besides scripts: the way to the nodes, and LXD's API."""

    def __init__(self, host: "PretendHost", node: Node | None) -> None:
        self.host, self.node = host, node

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        if self.node and username != self.node.user:
            raise asyncssh.PermissionDenied(f"its image has no user {username}")
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        node = nodes(self.host.lxd).get(dest_host)
        if self.node or dest_port != 22 or node is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "No route to host")
        return self.connection.forward_connection("127.0.0.1", self.host.listen(node))

    def unix_connection_requested(self, dest_path: str) -> Any:
        if self.node or dest_path != SOCKET or not memory.read("host").get("lxd"):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "No such file or directory")
        return self.connection.forward_unix_connection(self.host.api_socket)


class PretendHost:
    """Serves from `with` on, in a thread; `port` is its port on 127.0.0.1."""

    port: int

    def __init__(self, public_key: str, *, cloud: bool = True) -> None:
        """`public_key` may log in. With `cloud` the machine is there while the cloud has an instance, else always."""
        self.public_key, self.cloud = public_key, cloud
        self.lxd = RememberedLxd()
        self.directory = TemporaryDirectory(prefix="simulator-")
        self.api_socket = str(Path(self.directory.name) / "lxd.socket")
        self.ports: dict[str, int] = {}
        self.silent: list[socket.socket] = []
        self.commands: list[str] = []
        """All that was run on the host and its nodes."""
        self.started: Future[int] = Future()

    def __enter__(self) -> Self:
        # asyncssh answers every channel that a client left open when it went, and asyncio warns of every such answer.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        self.api = self.lxd.serve(self.api_socket)
        self.thread = threading.Thread(target=asyncio.run, args=(self.serve(),), daemon=True)
        self.thread.start()
        self.port = self.started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(timeout=10)
        self.lxd.close()
        self.api.shutdown()
        self.api.server_close()
        self.directory.cleanup()

    async def serve(self) -> None:
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        self.loop.set_default_executor(ThreadPoolExecutor(64))
        self.tasks: set[asyncio.Task[None]] = set()
        self.started.set_result(self.listen(None))
        await self.stopped.wait()

    def key(self) -> str:
        """The machine's public host key: `ssh-ed25519 AAAA…`."""
        self.settle()
        return " ".join(public_half(memory.read("host")["host_key"]).split()[:2])

    def machine(self) -> str | None:
        """Identity of the machine; None if there is none."""
        if not self.cloud:
            return EXISTING
        made = memory.read("linode").get("made", {})
        return next((id_ for id_, its in made.items() if its["type"] == INSTANCE), None)

    def first_keys(self, machine: str) -> list[str]:
        """Who may log in as root when the machine is new."""
        if not self.cloud:
            return [self.public_key]
        return list(memory.read("linode")["made"][machine]["authorized_keys"])

    def rebuild(self) -> None:
        """The machine is installed anew, or another one answers at its address."""
        with memory.opened("host") as state:
            state["machine"] = "gone"
        self.settle()

    def settle(self) -> bool:
        """Whether there is a machine; another one than before starts empty."""
        machine = self.machine()
        with memory.opened("host") as state:
            if state.get("machine") != machine:
                state.clear()
                if machine:
                    state |= {"machine": machine, "host_key": new_key(), "authorized_keys": self.first_keys(machine)}
                self.lxd.forget()
                with memory.opened("lxd") as entities:
                    entities.clear()
        return machine is not None

    def listen(self, node: Node | None) -> int:
        """Port on loopback that the SSH server of the node, or of the host, listens on."""
        key = node.id if node else ""
        if key not in self.ports:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            listener.setblocking(False)
            self.ports[key] = listener.getsockname()[1]
            self.begin(self.accept(listener, node))
        return self.ports[key]

    def begin(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def accept(self, listener: socket.socket, node: Node | None) -> None:
        while True:
            connection, _ = await self.loop.sock_accept(listener)
            if not self.settle() or {"ssh", f"ssh/{self.machine()}"} & memory.faults("fail").keys():
                connection.close()
            elif "ssh" in memory.faults("hang"):
                self.silent.append(connection)
            else:
                self.begin(self.greet(connection, node))

    async def greet(self, connection: socket.socket, node: Node | None) -> None:
        state = memory.read("host")
        its = state["nodes"][node.id] if node else state
        with suppress(OSError, asyncssh.Error):
            await asyncssh.run_server(
                connection,
                server_factory=lambda: Door(self, node),
                process_factory=lambda process: self.answer(process, Shell(self.lxd, node)),
                server_host_keys=[asyncssh.import_private_key(its["host_key"])],
                authorized_client_keys=asyncssh.import_authorized_keys("\n".join(its["authorized_keys"])),
                password_auth=False,
                kbdint_auth=False,
            )

    async def answer(self, process: asyncssh.SSHServerProcess[str], shell: Shell) -> None:
        self.commands.append(process.command or "")
        try:
            call = called(process.command or "")
            stdin = await process.stdin.read() if call.script in READING else ""
            written = await asyncio.to_thread(shell.run, call, stdin)
        except ExitError as error:
            process.stderr.write(f"{error}\n" if str(error) else "")
            process.exit(error.status)
        except Exception as error:  # a mistake of the simulator's own
            process.stderr.write(f"the simulator failed: {error!r}\n")
            process.exit(70)
        else:
            process.stdout.write(f"{written}\n")
            process.exit(0)


def keys_of(instance: Json) -> str:
    return f"/home/{instance['config']['image.os']}/.ssh/authorized_keys"


def new_key() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()


def public_half(key: str) -> str:
    return asyncssh.import_private_key(key).export_public_key().decode()
