"""Write the messages in docs/troubleshooting.md, as the program has them. With --check, exit 1 when they are others."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
SCRIPTS = "components/scripts"
MARK = "<!-- from here on made by scripts/troubleshooting_docs.py from the program's messages -->\n"
STEPS = {
    "The way to the host, and to the nodes by it": [
        "lxd_resources/transport.py",
        "components/host_key.py",
        "components/remote.py",
        "components/finalizer.py",
    ],
    "The Linode": ["components/linode_host.py"],
    "What a running cluster cannot bear": [
        "components/cluster_identity.py",
        "lxd_resources/network.py",
        "lxd_resources/storage_pool.py",
    ],
    "The look at the host": ["preflight.sh", "components/preflight.py", "host_release.sh"],
    "Any step": ["lib.sh", "alone.sh", "awaited.py"],
    "SSH keys": ["authorized_keys.sh", "ssh_key.sh", "ssh_key_remove.sh"],
    "Firewall": ["firewall.sh", "firewall_remove.sh"],
    "LXD and its instances": [
        "lxd_install.sh",
        "kernel_prepare.sh",
        "kernel_restore.sh",
        "folder.sh",
        "lxd_resources/client.py",
        "lxd_resources/entity.py",
        "lxd_resources/guest.py",
        "lxd_resources/instance.py",
        "components/lxd_topology.py",
    ],
    "The router": ["frr.sh", "frr_restore.sh", "booted.sh"],
    "k3s": [
        "k3s_endpoint.sh",
        "k3s_endpoint_remove.sh",
        "node_prepare.sh",
        "k3s_install.sh",
        "node_joined.sh",
        "k3s_ca.sh",
        "k3s_token.sh",
        "k3s_kubeconfig.sh",
        "on_server.py",
        "components/turns.py",
        "node_aside.sh",
        "node_drain.sh",
        "node_forget.sh",
        "node_remove.sh",
        "k3s_snapshot.sh",
    ],
    "Cilium": ["object_is_ours.sh", "helm_forget.sh", "cilium_ready.sh", "crds_established.sh", "l7_check.sh"],
    "Addresses and routes": ["pod_ranges.py", "frr_pods.sh", "load_balancer_ips.py"],
    "The proof": ["proof.py"],
    "Exposure": ["ngrok.sh", "ngrok_remove.sh", "urls.py"],
    "What `make status` and `make doctor` find": ["status/look.py", "status/layers.py", "status.py", "support.sh"],
}
"""Where their messages come from; without a folder: components/scripts."""
SAYS = re.compile(r'\b(fail|problem|said=|await (?:\d+|"\$limit"|"\$\(left "\$limit"\)")) *"')
PRINTS = re.compile(r"^ +print (.*)$", re.MULTILINE)
"""In awk."""
UNTOLD = {"said", "seen", "error", "detail", "last", "left", "silent", "problems", "stderr", "live", "delete"}
"""Names that tell a reader nothing."""
CODE = re.compile(r"\$|\{\}|2>&1|^show ")
"""In a text that is none."""


def page() -> str:
    known = [file for files in STEPS.values() for file in files]
    scripts = {file.name for file in (ROOT / SCRIPTS).iterdir() if file.suffix in (".sh", ".py")}
    if unknown := scripts - {*known}:
        sys.exit(f"{', '.join(sorted(unknown))}: in no step of scripts/troubleshooting_docs.py")
    parts = [PAGE.read_text().partition(MARK)[0] + MARK]
    for title, files in STEPS.items():
        lines = [f"- `` {line} ``" for line in dict.fromkeys(line for file in files for line in messages(file))]
        parts.append("\n".join([f"### {title}\n", *lines, ""]))
    return "\n".join(parts)


def messages(file: str) -> Iterator[str]:
    path = ROOT / (file if "/" in file else f"{SCRIPTS}/{file}")
    found = in_shell(path.read_text()) if path.suffix == ".sh" else in_python(path)
    for text in found:
        line = re.sub(r"…[… ]*…", "…", " ".join(text.split()))
        if len(re.findall(r"[A-Za-z]{2,}", line)) >= 2:
            yield line


def in_shell(text: str) -> Iterator[str]:
    for said in SAYS.finditer(text):
        awaited = ": not within … s; last seen: …" if said[1].startswith("await") else ""
        yield quoted(text, said.end()) + awaited
    for printed in PRINTS.finditer(text):
        texts = [text for text in re.findall(r'"((?:[^"\\]|\\.)*)"', printed[1]) if not re.fullmatch(r"\w*", text)]
        if len(words(" ".join(texts))) >= 4:
            yield "…".join(texts if printed[1].startswith('"') else ["", *texts])


def quoted(text: str, at: int) -> str:
    """What stands between here and the closing quotation mark."""
    found = ""
    while text[at] != '"':
        if text[at] == "\\":
            found, at = found + text[at + 1], at + 2
        elif text[at : at + 2] in ("$(", "${"):
            end = closing(text, at + 1)
            name = re.match(r"{([a-z_]+)(?!:)[^a-z_]", text[at + 1 : end + 1])
            found, at = found + named(name[1] if name else ""), end + 1
        elif its := re.compile(r"\$([a-z_]+|[0-9*#])").match(text, at):
            found, at = found + named(its[1]), its.end()
        else:
            found, at = found + text[at], at + 1
    return found


def closing(text: str, at: int) -> int:
    """Where the bracket that opens here is closed."""
    opens, closes, depth = text[at], {"(": ")", "{": "}"}[text[at]], 0
    while True:
        depth += (text[at] == opens) - (text[at] == closes)
        if not depth:
            return at
        at += 1


def in_python(path: Path) -> Iterator[str]:
    """Prose of four words or more. Of `status`, what is found; what to do about it is made for the stack."""
    tree = ast.parse(path.read_text())
    if path.parent.name == "status":
        nodes = [its for node in ast.walk(tree) for its in findings(node)]
    else:
        others: list[ast.AST] = [its.value for its in ast.walk(tree) if isinstance(its, ast.Expr)]
        others += [part for its in ast.walk(tree) if isinstance(its, ast.JoinedStr) for part in its.values]
        others += [its.left for its in ast.walk(tree) if isinstance(its, ast.Compare)]
        calls = [its for its in ast.walk(tree) if isinstance(its, ast.Call)]
        others += [part for its in calls if ast.unparse(its.func) == "awaited" for part in its.args]
        constants = [its.value for its in tree.body if isinstance(its, ast.Assign)]
        others += [its for node in constants if isinstance(node, ast.Constant | ast.Tuple) for its in ast.walk(node)]
        texts = (its for its in ast.walk(tree) if isinstance(its, ast.expr) and its not in others)
        nodes = [its for its in texts if len(words(prose(its))) >= 4]
    for node in sorted(nodes, key=lambda its: (its.lineno, its.col_offset)):
        if not CODE.search(prose(node)):
            yield prose(node)


def words(text: str) -> list[str]:
    return re.findall(r"(?<!\S)[A-Za-z']+(?=[.,;:?)]*(?:\s|$))", text)


def findings(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Call(func=ast.Name("Finding"), args=[ast.JoinedStr() | ast.Constant() as what, *_]):
            return [what]
        case ast.Assign(targets=[ast.Name("what")], value=ast.JoinedStr() as what):
            return [what]
    return []


def prose(node: ast.AST) -> str:
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(prose(part) for part in parts)
        case ast.FormattedValue(ast.Name(name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(name))):
            return named(str(name))
        case ast.FormattedValue():
            return "…"
    return ""


def named(name: str) -> str:
    return "…" if len(name) < 2 or name in UNTOLD else name.strip("_").upper()


def main() -> int:
    """Write the page, or only say whether it is current."""
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page())
        return 0
    if PAGE.read_text() == page():
        return 0
    print(
        "docs/troubleshooting.md is not what the program says; run: python scripts/troubleshooting_docs.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
