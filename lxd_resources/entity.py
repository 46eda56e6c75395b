"""What pools, networks, profiles, projects, forwards and instances share: a named LXD entity whose configuration is
read, merged and written back (GET, PUT with If-Match), as a Pulumi dynamic resource.

Each entity carries its resource's mark in `user.pulumi.owner`, so that a run after one that was killed recognises what
is its own. An adopted entity carries its former content in `user.pulumi.former`, and gets it back on delete.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, get_args

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from .client import Lxd, LxdError, MissingError, RetryError, UnreachableError
from .endpoint import Endpoint
from .inputs import Problem, Props, endpoint_problems, replaced_in, strings

Adopt = Literal["never", "if-equal", "update"]

OWNER = "user.pulumi.owner"
FORMER = "user.pulumi.former"
ADVICE = {
    "delete": "If the machine is gone for good, forget this resource with `pulumi state delete` (`deleted_with` its "
    "host does that by itself); if its address changed, run `pulumi up` first",
    "read": "If the machine is gone for good, forget this resource with `pulumi state delete`; if it is only off, "
    "start it and run `pulumi refresh` again",
}


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
    references: ClassVar[tuple[str, ...]] = ()
    """What names other entities, which LXD keeps as long as this one uses them."""
    server_set: ClassVar[tuple[str, ...]] = ()
    """Prefixes of configuration keys that LXD sets: no drift, and kept by a PUT."""
    chosen_when_auto: ClassVar[tuple[str, ...]] = ()
    """Keys whose "auto" LXD replaces by the value it chose."""
    in_project: ClassVar[bool] = True
    seconds: ClassVar[float] = 120
    """Deadline of one operation."""

    # What a kind of entity may say for itself.

    def path(self, props: Props) -> tuple[str, ...]:
        return (self.collection, props["name"])

    def problems(self, news: Props) -> Iterator[Problem]:
        """What is wrong with checked inputs; any of them may be Unknown."""
        yield from ()

    def replaced(self, olds: Props, news: Props) -> Iterator[str]:
        """Inputs, other than the immutable ones, whose change means a replacement."""
        yield from ()

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
        adopt = inputs.get("adopt", "never")
        if isinstance(adopt, str) and adopt not in get_args(Adopt):
            problems.append(("adopt", f"{adopt!r} is none of {', '.join(get_args(Adopt))}"))
        return dynamic.CheckResult(inputs, [dynamic.CheckFailure(key, reason) for key, reason in problems])

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        changed = [key for key in _news if key != "__provider" and _olds.get(key) != _news[key]]
        # When the engine replaces a pool or a network, it asks with an unknown name for it who must go before.
        unknown = [key for key in self.references if isinstance(_news[key], Unknown)]
        replaces = [key for key in changed if key in (*self.immutable, *unknown)]
        if self.in_project and replaced_in(_olds, _news, "lxd", "project"):
            replaces.append("lxd")
        replaces += self.replaced(_olds, _news)
        return dynamic.DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)

    def create(self, props: Props) -> dynamic.CreateResult:
        with self.session(props, "create") as lxd:
            props = {**props, "former": self.take_over(lxd, props)}
            try:
                live = self.converge(lxd, props)
            except LxdError as error:
                try:
                    lxd.extend(self.seconds)
                    self.remove(lxd, props)
                except LxdError as left:
                    raise LxdError(f"{error}. What it left could not be removed ({left}); the next run will") from None
                raise
            return dynamic.CreateResult(props[self.identity], {**props, **self.outputs(lxd, props, live)})

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        with self.session(props, "read") as lxd:
            live, _ = self.find(lxd, props)
            if live is None:
                return dynamic.ReadResult(None, {})
            return dynamic.ReadResult(id_, {**props, **self.observed(props, live), **self.outputs(lxd, props, live)})

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        with self.session(_news, "update") as lxd:
            props = {**_news, "former": _olds.get("former", "")}
            live = self.converge(lxd, props, _olds)
            return dynamic.UpdateResult({**props, **self.outputs(lxd, props, live)})

    def delete(self, _id: str, _props: Props) -> None:
        with self.session(_props, "delete") as lxd:
            self.remove(lxd, _props)

    # How.

    @contextmanager
    def session(self, props: Props, doing: str) -> Iterator[Lxd]:
        """A connection for one operation; errors name the entity and the machine."""
        endpoint = props["lxd"]
        project = endpoint["project"] if self.in_project else None
        try:
            with Lxd(endpoint, project, self.deadline(props)) as lxd:
                yield lxd
        except LxdError as error:
            advice = f". {ADVICE[doing]}" if isinstance(error, UnreachableError) and doing in ADVICE else ""
            entity = f"{self.kind} {props[self.identity]} at {endpoint['host']}"
            raise LxdError(f"cannot {doing} {entity}: {error}{advice}") from None

    def find(self, lxd: Lxd, props: Props) -> tuple[Props | None, str]:
        """The entity and its ETag, unless it has gone or another resource has taken its name."""
        live, etag = lxd.get(*self.path(props))
        if live is not None and live["config"].get(OWNER, props["owner"]) != props["owner"]:
            return None, ""
        return live, etag

    def take_over(self, lxd: Lxd, props: Props) -> str:
        """Former content of an entity that is adopted, "" of one that is our own or yet to be made.

        Errors: the entity exists and may not be adopted.
        """
        live, _ = lxd.get(*self.path(props))
        if live is None:
            return ""
        owner, former = live["config"].get(OWNER), live["config"].get(FORMER, "")
        unlike = [f"{key} {value}" for key, value in self.born_as(live).items() if value != props[key]]
        if owner == props["owner"] and (former or not unlike):
            return str(former)
        if owner == props["owner"]:
            self.remove(lxd, {**props, "former": ""})
            return ""
        if owner is not None:
            raise LxdError(f"it exists and belongs to {owner}; destroy it there, or unset its {OWNER} to let it go")
        if unlike:
            raise LxdError(f"it exists with {', '.join(unlike)}; choose another name, or delete it")
        adopt = props.get("adopt", "never")
        if adopt == "never":
            choice = ', or say adopt="update"' if "adopt" in props else ""
            raise LxdError(f"it exists and is not ours; choose another name, or delete it{choice}")
        content = self.content(live)
        if adopt == "if-equal" and (other := self.unequal(props, content)):
            raise LxdError(f'it exists with another {", ".join(other)}; make it equal, or say adopt="update"')
        return json.dumps(content, sort_keys=True)

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

    def observed(self, props: Props, live: Props) -> Props:
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
        """Make the entity what the inputs say, whatever of that is done already, and return it.

        With `olds` it must exist; without, it is created when it does not.
        """
        while True:
            try:
                live, etag = lxd.get(*self.path(props))
                if live is None and olds is not None:
                    raise LxdError("it is gone; run `pulumi refresh`, then `pulumi up` makes it anew")
                if live is None:
                    body = self.creation(props)
                    lxd.send(
                        "post", *self.path(props)[:-1], body=body | {"config": body["config"] | {OWNER: props["owner"]}}
                    )
                else:
                    content = self.content(live)
                    wanted = self.wanted(props, content, olds)
                    if wanted != content:
                        lxd.send("put", *self.path(props), body=live | wanted, etag=etag)
                self.settle(lxd, props)
                live, _ = lxd.get(*self.path(props))
                if live is not None:
                    return live
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
                if users := live.get("used_by"):
                    names = ", ".join(user.removeprefix("/1.0/") for user in users)
                    raise LxdError(f"{error}; it is used by {names}: remove those first") from None
                raise


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
