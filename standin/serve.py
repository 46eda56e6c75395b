"""The engine's provider protocol (pulumi.runtime.proto, ResourceProvider) over plain Python values.

A provider overrides methods that take and return dictionaries; in them a secret is a `Secret`, and what is
not yet known in a preview is `UNKNOWN`. The engine attaches by PULUMI_DEBUG_PROVIDERS=name:port,…
"""

import functools
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import grpc
from google.protobuf import any_pb2, empty_pb2, struct_pb2
from google.rpc import status_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

Properties = dict[str, Any]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's mark of a secret, itself public
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# One for each type a property may turn out to have (sdk/go/common/resource/plugin/rpc.go).
UNKNOWNS = {
    UNKNOWN_STRING,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}


class Unknown:
    """A value that only an `up` will know."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, repr=False)
class Secret:
    """A value that the state encrypts and the output hides."""

    value: Any


def decode(value: struct_pb2.Value) -> Any:
    """The Python value of a protocol value; whole numbers become int, as JSON and YAML need them."""
    match value.WhichOneof("kind"):
        case "struct_value":
            fields = {key: decode(item) for key, item in value.struct_value.fields.items()}
            return Secret(fields["value"]) if fields.get(SIGNATURE) == SECRET else fields
        case "list_value":
            return [decode(item) for item in value.list_value.values]
        case "string_value":
            return UNKNOWN if value.string_value in UNKNOWNS else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if math.isfinite(number) and number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case _:
            return None


def decode_properties(struct: struct_pb2.Struct) -> Properties:
    return {key: decode(value) for key, value in struct.fields.items()}


def encode(value: Any) -> Any:
    match value:
        case Unknown():
            return UNKNOWN_STRING
        case Secret():
            return {SIGNATURE: SECRET, "value": encode(value.value)}
        case dict():
            return {key: encode(item) for key, item in value.items()}
        case list():
            return [encode(item) for item in value]
        case _:
            return value


def encode_properties(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update({key: encode(value) for key, value in properties.items()})
    return struct


def reveal(value: Any) -> Any:
    """The value without the marks of secrets, however deep."""
    match value:
        case Secret():
            return reveal(value.value)
        case dict():
            return {key: reveal(item) for key, item in value.items()}
        case list():
            return [reveal(item) for item in value]
        case _:
            return value


def contains(value: Any, kind: type) -> bool:
    """Whether a value of the class `kind` (Secret or Unknown) is anywhere in `value`."""
    match value:
        case _ if isinstance(value, kind):
            return True
        case Secret():
            return contains(value.value, kind)
        case dict():
            return any(contains(item, kind) for item in value.values())
        case list():
            return any(contains(item, kind) for item in value)
        case _:
            return False


def conceal(outputs: Properties, inputs: Properties) -> Properties:
    """`outputs` with everything secret that is secret under the same key in `inputs`."""
    concealed = dict(outputs)
    for key, value in outputs.items():
        given = inputs.get(key)
        if isinstance(value, dict) and isinstance(given, dict):
            concealed[key] = conceal(value, given)
        elif not isinstance(value, Secret) and contains(given, Secret):
            concealed[key] = Secret(value)
    return concealed


def changes(old: Any, new: Any, path: str = "") -> dict[str, str]:
    """Property paths at which two values differ, each with ADD, DELETE or UPDATE; secretness is no difference."""
    old, new = reveal(old), reveal(new)
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f".{k}" if k.isidentifier() else f'["{k}"]', old.get(k), new.get(k)) for k in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list):
        longest = max(len(old), len(new))
        pairs = [(f"[{i}]", old[i] if i < len(old) else None, new[i] if i < len(new) else None) for i in range(longest)]
    elif old is new or (old == new and type(old) is type(new)):
        return {}
    else:
        return {path: "ADD" if old is None else "DELETE" if new is None else "UPDATE"}
    return {k: v for step, a, b in pairs for k, v in changes(a, b, (path + step).removeprefix(".")).items()}


@dataclass(frozen=True)
class Resource:
    """What the engine says of the resource an operation is about; `timeout` in seconds, 0 if none was set."""

    urn: str
    type: str
    name: str
    id: str = ""
    timeout: float = 0

    @classmethod
    def of(cls, request: Any) -> "Resource":
        # An engine may leave name and type to be read from urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME.
        parts = request.urn.split("::")
        return cls(
            request.urn,
            request.type or parts[2].split("$")[-1],
            request.name or "::".join(parts[3:]),
            getattr(request, "id", ""),
            getattr(request, "timeout", 0),
        )


@dataclass(frozen=True)
class Diff:
    """What an update would change: property path → ADD, DELETE or UPDATE, and the paths that replace."""

    changes: dict[str, str] = field(default_factory=dict)
    replaces: frozenset[str] = frozenset()
    delete_before_replace: bool = False


class CheckError(Exception):
    """Inputs that the provider refuses: the property and the reason."""

    def __init__(self, property_: str, reason: str) -> None:
        super().__init__(reason)
        self.property = property_


class InitError(Exception):
    """A resource that exists but did not become what it should: the engine keeps it, and updates it next time."""

    def __init__(self, id_: str, outputs: Properties, message: str, reasons: list[str] | None = None) -> None:
        super().__init__(message)
        self.id, self.outputs, self.reasons = id_, outputs, [message, *(reasons or [])]


class Provider(ABC):
    """One configured instance of a package's provider. Any exception is the operation's error message."""

    package: str

    def __init__(self, log: Callable[..., None], config: Properties) -> None:
        """`log(resource, message, severity="INFO", ephemeral=False)` writes to the engine's output. `config` has the
        inputs of the provider's own resource, nothing where a preview does not know them."""
        self.log, self.config = log, config

    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        return Diff(changes(olds, news))

    @abstractmethod
    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties: ...

    @abstractmethod
    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff: ...

    @abstractmethod
    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]: ...

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        """Inputs and outputs as they are now; None if the resource is gone."""
        return inputs, outputs

    @abstractmethod
    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties: ...

    @abstractmethod
    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None: ...

    def invoke(self, function: str, arguments: Properties) -> Properties:
        raise NotImplementedError(f"{function} cannot be asked for by the stand-in of {self.package}")


def operation(method: Callable[..., Any]) -> Callable[..., Any]:
    """An RPC whose exceptions become its status, in the forms that the engine understands."""

    @functools.wraps(method)
    def guarded(self: "Servicer", request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except InitError as error:
            detail = any_pb2.Any()
            properties = encode_properties(error.outputs)
            detail.Pack(provider_pb2.ErrorResourceInitFailed(id=error.id, properties=properties, reasons=error.reasons))
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            message = str(error)
        except Exception as error:  # whatever it is, the engine shows it
            message = str(error) or type(error).__name__
        return context.abort(grpc.StatusCode.UNKNOWN, message)

    return guarded


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Instances of one package's provider, one for each connection: the engine makes one for each provider resource."""

    def __init__(self, provider: type[Provider]) -> None:
        self.provider = provider
        self.engine: engine_pb2_grpc.EngineStub | None = None
        self.instances: dict[str, Provider] = {}
        self.version = metadata.version(f"pulumi-{provider.package}")

    def attach(self, address: str) -> None:
        self.engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def log(self, resource: Resource, message: str, severity: str = "INFO", ephemeral: bool = False) -> None:
        if self.engine:
            self.engine.Log(
                engine_pb2.LogRequest(
                    severity=engine_pb2.LogSeverity.Value(severity),
                    message=message,
                    urn=resource.urn,
                    ephemeral=ephemeral,
                )
            )

    def instance(self, context: grpc.ServicerContext) -> Provider:
        peer = context.peer()
        if peer not in self.instances:
            # gRPC may have reconnected, or a preview did not configure: the newest instance is the best guess.
            self.instances[peer] = next(reversed(self.instances.values()), None) or self.provider(self.log, {})
        return self.instances[peer]

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ProviderHandshakeResponse:
        self.attach(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.attach(request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self.version)

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        olds = decode_properties(request.old_inputs) or decode_properties(request.olds)
        diff = self.provider(self.log, {}).diff_config(olds, decode_properties(request.news))
        return diff_response(diff)

    @operation
    def Configure(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ConfigureResponse:
        self.instances[context.peer()] = self.provider(self.log, decode_properties(request.args))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @operation
    def Check(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        try:
            inputs = self.instance(context).check(
                Resource.of(request), decode_properties(request.olds), decode_properties(request.news)
            )
        except CheckError as error:
            failure = provider_pb2.CheckFailure(property=error.property, reason=str(error))
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        return provider_pb2.CheckResponse(inputs=encode_properties(inputs))

    @operation
    def Diff(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        diff = self.instance(context).diff(
            Resource.of(request),
            decode_properties(request.old_inputs),
            decode_properties(request.olds),
            decode_properties(request.news),
        )
        return diff_response(diff)

    @operation
    def Create(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        id_, outputs = self.instance(context).create(
            Resource.of(request), decode_properties(request.properties), request.preview
        )
        return provider_pb2.CreateResponse(id=id_, properties=encode_properties(outputs))

    @operation
    def Read(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        found = self.instance(context).read(
            Resource.of(request), decode_properties(request.inputs), decode_properties(request.properties)
        )
        if found is None:
            return provider_pb2.ReadResponse()
        inputs, outputs = found
        return provider_pb2.ReadResponse(
            id=request.id, inputs=encode_properties(inputs), properties=encode_properties(outputs)
        )

    @operation
    def Update(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        outputs = self.instance(context).update(
            Resource.of(request),
            decode_properties(request.old_inputs),
            decode_properties(request.olds),
            decode_properties(request.news),
            request.preview,
        )
        return provider_pb2.UpdateResponse(properties=encode_properties(outputs))

    @operation
    def Delete(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.instance(context).delete(
            Resource.of(request), decode_properties(request.old_inputs), decode_properties(request.properties)
        )
        return empty_pb2.Empty()

    @operation
    def Invoke(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        answer = self.instance(context).invoke(request.tok, decode_properties(request.args))
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode_properties(answer))
        return response

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()


def diff_response(diff: Diff) -> provider_pb2.DiffResponse:
    kind = provider_pb2.PropertyDiff.Kind
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if diff.changes else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=sorted(diff.replaces),
        diffs=sorted({path.split(".")[0].split("[")[0] for path in diff.changes}),
        detailedDiff={
            path: provider_pb2.PropertyDiff(
                kind=kind.Value(f"{change}_REPLACE" if path in diff.replaces else change), inputDiff=True
            )
            for path, change in diff.changes.items()
        },
        hasDetailedDiff=True,
        deleteBeforeReplace=diff.delete_before_replace,
    )


def unique_name(prefix: str) -> str:
    """`prefix` and eight random hexadecimal digits, as the engine's SDK names what the program left unnamed."""
    return prefix + secrets.token_hex(4)


def serve(provider: type[Provider]) -> tuple[int, Callable[[], object]]:
    """Serve on a free loopback port: the port, and how to stop."""
    # An operation waits in its thread; the engine starts four for each processor at a time.
    server = grpc.server(futures.ThreadPoolExecutor(64))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(provider), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    return port, lambda: server.stop(grace=None).wait(5)


def attached(served: Mapping[str, tuple[int, Callable[[], object]]]) -> dict[str, str]:
    """The environment in which the engine attaches to what `serve` has given, by the providers' names.

    It downloads no plugin then. Otherwise it tries to in every command, for each package that is installed and has no
    plugin, attached or not: 2.7 s where there is no internet.
    """
    return {
        "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, (port, _) in served.items()),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
