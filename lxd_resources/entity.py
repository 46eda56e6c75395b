"""What pools, networks, profiles, projects, forwards and instances share: a named LXD entity whose configuration is
read, merged and written back (GET, PUT with If-Match), as a Pulumi dynamic resource.

Each entity carries its resource's mark in `user.pulumi.owner`, so that a run after one that was killed recognises what
is its own. An adopted entity carries its former content in `user.pulumi.former`, and gets it back on delete.

What is replaced while others of the stack still use it stays until they go, marked `user.pulumi.left`.

An entity lives on one machine (see `endpoint`). On another one there is nothing of it: an update makes it there, and
what was on a machine that shows another host key is gone.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, get_args
from urllib.parse import parse_qs, urlparse

import pulumi
from pulumi import dynamic

from .client import Lxd
from .endpoint import Endpoint, is_elsewhere, newest, take
from .errors import AnotherMachineError, LxdError, MissingError, RetryError, SilentError, UnreachableError
from .inputs import Problem, Props, endpoint_problems, strings
from .workers import widen

Adopt = Literal["never", "if-equal", "update"]

OWNER = "user.pulumi.owner"
FORMER = "user.pulumi.former"
LEFT = "user.pulumi.left"
GIVE_UP = "CILIUM_BGP_DELETE_UNREACHABLE"
"""Environment variable: `true` means that machines that do not answer are gone for good."""


ADVICE = {
    doing: "If the machine is off, start it; if its address has changed, set it and run `pulumi up`; if it is gone for "
    f"good, say so: {GIVE_UP}=true pulumi {command}"
    for doing, command in (("delete", "destroy"), ("read", "refresh"))
}


def is_gone(error: LxdError, way: Props) -> bool:
    """Whether a machine that cannot be reached so is to be taken for gone, with all that was on it."""
    silent = isinstance(error, SilentError)
    return isinstance(error, AnotherMachineError) or (
        isinstance(error, UnreachableError) and (is_given_up() or (bool(way.get("owned")) and not silent))
    )


def is_given_up() -> bool:
    return os.environ.get(GIVE_UP) == "true"


def say(text: str) -> None:
    """Tell the user once, as one of Pulumi's diagnostics."""
    if text not in _said:
        _said.add(text)
        print(text, file=sys.stderr, flush=True)


_said: set[str] = set()


class Provider(dynamic.ResourceProvider):
    """The operations of one kind of entity; subclasses say what is particular to it."""

    serialize_as_secret_always = False

    kind: ClassVar[str]
    collection: ClassVar[str] = ""
    """Last part of the API's path of all entities of this kind."""
    identity: ClassVar[str] = "name"
    fields: ClassVar[tuple[str, ...]] = ("config",)
    """What a PUT can change."""
    immutable: ClassVar[tuple[str, ...]] = ("name",)
    """What only a replacement can change."""
    server_set: ClassVar[tuple[str, ...]] = ()
    """Prefixes of configuration keys that LXD sets: no drift, and kept by a PUT."""
    chosen_when_auto: ClassVar[tuple[str, ...]] = ()
    """Keys whose "auto" LXD replaces by the value it chose."""
    in_project: ClassVar[bool] = True
    outlived: ClassVar[bool] = False
    """Others of the stack may still use one that the program has replaced."""
    nobodys: ClassVar[tuple[str, ...]] = ()
    """What LXD lists as users and deletes by itself."""
    limits: ClassVar[tuple[str, ...]] = ()
    """Inputs that say how long to wait, and are nothing of the entity."""
    seconds: ClassVar[float] = 120
    """Deadline of one operation."""

    # What a kind of entity may say for itself.

    def path(self, props: Props) -> tuple[str, ...]:
        return (self.collection, props["name"])

    def problems(self, news: Props) -> Iterator[Problem]:
        """What is wrong with checked inputs; any of them may be Unknown."""
        yield from ()

    def refusals(self, olds: Props, news: Props) -> Iterator[Problem]:
        """What cannot become of an entity that is there; `olds` are its inputs."""
        yield from ()

    def replaced(self, olds: Props, news: Props) -> Iterator[str]:
        """Inputs, other than the immutable ones, whose change means a replacement."""
        yield from ()

    def kept(self, olds: Props, news: Props) -> Props:
        """The inputs for an entity that is there: what only its creation decides is as it was."""
        return news

    def deadline(self, props: Props) -> float:
        return self.seconds

    def creation(self, props: Props) -> Props:
        """Body of the POST, without the mark."""
        return {key: props[key] for key in (*self.immutable, *self.fields)}

    def content(self, live: Props) -> Props:
        """The changeable part of an entity as LXD shows it, in the form of our inputs."""
        return {field: live.get(field) or {} for field in self.fields}

    def born_as(self, live: Props) -> Props:
        """The unchangeable part of an entity as LXD shows it."""
        return {key: live[key] for key in self.immutable if key in live}

    def as_born(self, props: Props, live: Props) -> Props:
        """The inputs with what only creation decides as it is in the entity that is there."""
        return props

    def before_delete(self, lxd: Lxd, props: Props, live: Props) -> None:
        """Bring the entity into a state in which LXD deletes it."""

    def settle(self, lxd: Lxd, props: Props) -> None:
        """Wait for what makes the entity usable once it is there."""

    def outputs(self, lxd: Lxd, props: Props, live: Props) -> Props:
        return {}

    # What Pulumi calls.

    def check(self, _olds: Props, news: Props) -> dynamic.CheckResult:
        inputs = {key: strings(value) if key in self.fields else value for key, value in news.items()}
        problems = [*endpoint_problems(inputs["lxd"]), *self.problems(inputs)]
        if _olds and not is_elsewhere(_olds["lxd"], inputs["lxd"]):
            problems += self.refusals(_olds, inputs)
        adopt = inputs.get("adopt", "never")
        if isinstance(adopt, str) and adopt not in get_args(Adopt):
            problems.append(("adopt", f"{adopt!r} is none of {', '.join(get_args(Adopt))}"))
        return dynamic.CheckResult(inputs, [dynamic.CheckFailure(key, reason) for key, reason in problems])

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        take(_news["lxd"], _olds["lxd"])
        if is_elsewhere(_olds["lxd"], _news["lxd"]):
            return dynamic.DiffResult(changes=True, replaces=[], delete_before_replace=True)
        wanted = self.kept(_olds, _news)
        unlike = [key for key in wanted if key not in ("__provider", *self.limits) and _olds.get(key) != wanted[key]]
        replaces = [*(key for key in unlike if key in self.immutable), *self.replaced(_olds, wanted)]
        return dynamic.DiffResult(changes=bool(unlike), replaces=replaces, delete_before_replace=True)

    def create(self, props: Props) -> dynamic.CreateResult:
        with self.session(props, "create") as lxd:
            return dynamic.CreateResult(props[self.identity], self.made(lxd, props))

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        try:
            with self.session(props, "read") as lxd:
                live, _ = self.find(lxd, props)
                if live is None:
                    return dynamic.ReadResult(None, {})
                props = self.as_born(props, live)
                return dynamic.ReadResult(
                    id_, {**props, **self.observed(lxd, props, live), **self.outputs(lxd, props, live)}
                )
        except LxdError as error:
            if not is_gone(error, props["lxd"]):
                raise
            if isinstance(error, AnotherMachineError) or is_given_up():
                say(f"{error}. What was on the machine is not there")
                return dynamic.ReadResult(None, {})
            # Whether the machine itself is gone, its own refresh tells.
            say(f"{error}. What is on the machine is left as it was seen last")
            return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        if not is_elsewhere(_olds["lxd"], _news["lxd"]):
            props = {**self.kept(_olds, _news), "former": _olds.get("former", "")}
            with self.session(props, "update") as lxd:
                if self.find(lxd, props)[0] is not None:
                    return dynamic.UpdateResult(self.converge(lxd, props, _olds))
        with self.session(_news, "update") as lxd:
            return dynamic.UpdateResult(self.made(lxd, _news))

    def delete(self, _id: str, _props: Props) -> None:
        props = {**_props, "lxd": newest(_props["lxd"])}
        try:
            with self.session(props, "delete") as lxd:
                self.remove(lxd, props)
                sweep(lxd, props)
        except LxdError as error:
            if not is_gone(error, props["lxd"]):
                raise
            say(f"{error}. What was on the machine is taken for gone")

    # How.

    @contextmanager
    def session(self, props: Props, doing: str) -> Iterator[Lxd]:
        """A connection for one operation. Errors name the entity, unless the machine is gone, and say what to do."""
        widen()
        endpoint = props["lxd"]
        project = endpoint["project"] if self.in_project else None
        try:
            with Lxd(endpoint, project, self.deadline(props)) as lxd:
                yield lxd
        except LxdError as error:
            if doing in ADVICE and is_gone(error, endpoint):
                raise
            advice = f". {ADVICE[doing]}" if doing in ADVICE and isinstance(error, UnreachableError) else ""
            entity = f"{self.kind} {props[self.identity]} at {endpoint['host']}"
            raise type(error)(f"cannot {doing} {entity}: {error}{advice}") from None

    def made(self, lxd: Lxd, props: Props) -> Props:
        """Make the entity, or take it over, and give its outputs. What it began and cannot finish is removed again."""
        former, begun = self.take_over(lxd, props)
        props = {**props, "former": former}
        try:
            return self.converge(lxd, props)
        except LxdError as error:
            if begun:  # by another run, which may have got further
                raise
            try:
                lxd.extend(self.seconds)
                self.remove(lxd, props)
            except LxdError as left:
                raise LxdError(f"{error}. What it left could not be removed ({left}); the next run will") from None
            raise

    def find(self, lxd: Lxd, props: Props) -> tuple[Props | None, str]:
        """The entity and its ETag, unless it has gone or another resource has taken its name."""
        live, etag = lxd.get(*self.path(props))
        if live is not None and live["config"].get(OWNER, props["owner"]) != props["owner"]:
            return None, ""
        return live, etag

    def take_over(self, lxd: Lxd, props: Props) -> tuple[str, bool]:
        """Former content of an entity that is adopted, "" of one that is our own or yet to be made; whether it is ours.

        Errors: the entity exists and may not be adopted.
        """
        live, _ = lxd.get(*self.path(props))
        if live is None:
            return "", False
        owner, former = live["config"].get(OWNER), live["config"].get(FORMER, "")
        unlike = [f"{key} {value}" for key, value in self.born_as(live).items() if value != props[key]]
        if owner == props["owner"] and (former or not unlike):
            return str(former), True
        if owner == props["owner"]:
            self.remove(lxd, {**props, "former": ""})
            return "", False
        if owner is not None:
            raise LxdError(f"it exists and belongs to {owner}; destroy it there, or unset its {OWNER} to let it go")
        if unlike:
            raise LxdError(f"it exists with {', '.join(unlike)}; choose another name, or delete it")
        adopt = props.get("adopt", "never")
        if adopt == "never":
            raise LxdError("it exists and is not ours; choose another name, or delete it")
        content = self.content(live)
        if adopt == "if-equal" and (other := self.unequal(props, content)):
            raise LxdError(f"it exists with another {', '.join(other)}; choose another name, or make it equal")
        return json.dumps(content, sort_keys=True), False

    def unequal(self, props: Props, content: Props) -> list[str]:
        """What of the inputs the live content does not have."""
        wanted = self.wanted(props, content)
        return [
            f"{field} {key}"
            for field in self.fields
            for key in props[field]
            if wanted[field][key] != content[field].get(key)
        ]

    def wanted(self, props: Props, content: Props, olds: Props | None = None) -> Props:
        """Content to write: what LXD set, below what an adopted entity had, below what the program says."""
        former = self.former(props)
        dropped = set(olds["config"]) - set(props["config"]) if olds else set()
        config = {k: v for k, v in content["config"].items() if k.startswith(self.server_set) and k not in dropped}
        config |= former.get("config", {})
        config |= {
            key: content["config"].get(key, value) if key in self.chosen_when_auto and value == "auto" else value
            for key, value in props["config"].items()
        }
        config[OWNER] = props["owner"]
        if props.get("former"):
            config[FORMER] = props["former"]
        rest = {
            field: {**former.get(field, {}), **props[field]} if isinstance(props[field], dict) else props[field]
            for field in self.fields
        }
        return {**rest, "config": config}

    def former(self, props: Props) -> Props:
        """What an adopted entity had of its own before, LXD's volatile keys aside."""
        if not props.get("former"):
            return {}
        content: Props = json.loads(props["former"])
        content["config"] = {k: v for k, v in content["config"].items() if not k.startswith("volatile.")}
        return content

    def observed(self, lxd: Lxd, props: Props, live: Props) -> Props:
        """The live content in the form of the inputs: differs from them if and only if somebody changed it."""
        content = self.content(live)
        expected = self.wanted(props, content)
        result: Props = {"owner": content["config"].get(OWNER, "")}
        for field in self.fields:
            if not isinstance(content[field], dict):
                result[field] = content[field]
                continue
            ours = props[field]
            result[field] = {
                key: ours[key] if key in ours and value == expected[field].get(key) else value
                for key, value in content[field].items()
                if key not in (OWNER, FORMER) and (key in ours or value != expected[field].get(key))
            }
        return result

    def converge(self, lxd: Lxd, props: Props, olds: Props | None = None) -> Props:
        """Make the entity what the inputs say, whatever of that is done already, and give its outputs."""
        while True:
            try:
                live, etag = lxd.get(*self.path(props))
                if live is None:
                    body = self.creation(props)
                    lxd.send(
                        "post", *self.path(props)[:-1], body=body | {"config": body["config"] | {OWNER: props["owner"]}}
                    )
                else:
                    if live["config"].get(OWNER) == props["owner"]:
                        props = self.as_born(props, live)
                    content = self.content(live)
                    wanted = self.wanted(props, content, olds)
                    if wanted != content:
                        lxd.send("put", *self.path(props), body=live | wanted, etag=etag)
                self.settle(lxd, props)
                live, _ = lxd.get(*self.path(props))
                if live is not None:
                    return {**props, **self.outputs(lxd, props, live)}
                raise RetryError("it is gone again")
            except RetryError as again:
                lxd.pause("its configuration to take", str(again))

    def remove(self, lxd: Lxd, props: Props) -> None:
        """Delete the entity, or restore what an adopted one had. Already gone is fine."""
        while True:
            live, etag = self.find(lxd, props)
            if live is None:
                return
            try:
                if props.get("former"):
                    content = self.content(live)
                    volatile = {k: v for k, v in content["config"].items() if k.startswith("volatile.")}
                    former = self.former(props)
                    former["config"] |= volatile
                    if former != content:
                        lxd.send("put", *self.path(props), body=live | former, etag=etag)
                    return
                self.before_delete(lxd, props, live)
                lxd.send("delete", *self.path(props))
            except MissingError:
                return
            except RetryError as again:
                lxd.pause("it to be deleted", str(again))
            except LxdError as error:
                users = live.get("used_by") or []
                others = [user for user in users if not any(nobodys in user for nobodys in self.nobodys)]
                if self.outlived and others and all(is_ours(props, user) for user in others):
                    left = {**live, "config": {**live["config"], LEFT: "true"}}
                    lxd.send("put", *self.path(props), body=left, etag=etag)
                    return
                if users:
                    names = ", ".join(user.removeprefix("/1.0/") for user in users)
                    raise LxdError(f"{error}; it is used by {names}: remove those first") from None
                raise


def sweep(lxd: Lxd, props: Props) -> None:
    """Delete what was left for the sake of others, where nothing uses it any more."""
    for kind in [kind for kind in Provider.__subclasses__() if kind.outlived]:
        for live in lxd.all(kind.collection):
            config = live["config"]
            if config.get(LEFT) and stack_of(config.get(OWNER, "")) == stack_of(props["owner"]):
                left = {"name": live["name"], "lxd": props["lxd"], "owner": config[OWNER]}
                with contextlib.suppress(LxdError):  # somebody else's: they will see it
                    kind().remove(lxd, left | {"former": config.get(FORMER, "")})


def is_ours(props: Props, user: str) -> bool:
    """Whether an entity that LXD lists as a user of another is of the same stack."""
    path = urlparse(user)
    kind, *name = path.path.removeprefix("/1.0/").split("/")
    project = parse_qs(path.query).get("project", ["default"])[0]
    with Lxd(props["lxd"], project, Provider.seconds) as lxd:
        live, _ = lxd.get(kind, *name)
    return live is None or stack_of((live.get("config") or {}).get(OWNER, "")) == stack_of(props["owner"])


def stack_of(owner: str) -> str:
    return owner.rpartition("/")[0]


class Entity(dynamic.Resource):
    """A Pulumi resource that is a named entity of an LXD.

    `lxd` is always secret. When an entity of that name exists and no interrupted run of this resource made it, `adopt`
    decides: never (an error), if-equal (taken over if it has all that is asked for), update (taken over and changed).
    What was taken over is not deleted with the resource: it gets its former content back.
    """

    def __init__(
        self,
        provider: Provider,
        resource_name: str,
        lxd: pulumi.Input[Endpoint],
        props: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None,
        *,
        outputs: Sequence[str] = (),
    ) -> None:
        own = pulumi.ResourceOptions(additional_secret_outputs=["lxd", "former"], delete_before_replace=True)
        super().__init__(
            provider,
            resource_name,
            {
                "lxd": pulumi.Output.secret(lxd),
                "owner": f"{pulumi.get_project()}/{pulumi.get_stack()}/{resource_name}",
                **props,
                **dict.fromkeys(outputs),
            },
            pulumi.ResourceOptions.merge(own, opts),
        )
