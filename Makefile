# Everything works from a fresh clone: each target sets up what it still needs, inside the project.
# STACK names the stack that a command is about.
STACK ?= dev

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/bin:$(PATH)
export PULUMI_SKIP_UPDATE_CHECK := true
# Keys are in the configuration; the command plugin fails on an SSH agent that is gone.
unexport SSH_AUTH_SOCK
# What Python has compiled is kept: hundreds of processes would do it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup python test coverage examples chaos test-lxd lint lock graph preview plan changes status doctor kubeconfig kubeconfig-remove snapshot support tunnel up destroy lab lab-down pictures e2e demo bench bench-lab

## To begin

# This list.
help:
	@awk '/^## / { print (n++ ? "\n" : "") substr($$0, 4) } /^# / { said = said substr($$0, 2); next } /\?=/ { next } \
	/^[a-z][a-z0-9-]*:/ && said { sub(/\. .*/, ".", said); sub(/:.*/, ""); printf "  %-19s%s\n", $$0, said } { said = "" }' Makefile

# The whole dev stack in a pretend world: no account, no host, no network. A second run changes nothing.
demo: setup
	@python -m scripts.demo

# All that the other targets need, inside the project.
setup: python
	@scripts/setup-pulumi

python:
	@scripts/setup-python

## A stack

# What STACK's configuration would create, on a throw-away stack: no account, no secret, no host.
preview: setup
	@python -m scripts.preview $(STACK)

# What `up` would do to STACK: its preview, what is replaced, does traffic stop, the price by the month before and after.
plan: setup
	@python -m scripts.changes --of $(STACK)

# The real thing, wherever `pulumi login` points, with the official plugins. It is held to the rules in policy/.
up: setup
	PATH=$(CURDIR)/policy:$$PATH pulumi up --stack $(STACK) --policy-pack policy --policy-pack-config policy/config.json

# Is STACK well? Live, from its host to the answers of its Services; nothing is changed. WATCH: seconds between looks.
status: setup
	@python -m status $(STACK) $(if $(WATCH),--watch $(WATCH))

# Why not, and will STACK's host do before there is one? Each with its fix; nothing is changed.
doctor: setup
	@python -m scripts.doctor $(STACK)

# STACK's kubeconfig in your own, as a context of its name.
kubeconfig: setup
	@python -m scripts.kubeconfig $(STACK)

# Out of it again; of a stack that is destroyed too.
kubeconfig-remove: setup
	@python -m scripts.kubeconfig $(STACK) --remove

# An archive, here, of what a helper needs to see of STACK, searched for its secrets before it is written.
support: setup
	@python -m scripts.support $(STACK)

# A snapshot of STACK's cluster, now: its name, in k3s.snapshots.folder of the host.
snapshot: setup
	@python -m scripts.snapshot $(STACK)

# STACK's Services on this machine, each at its port, until Ctrl-C.
tunnel: setup
	@python -m scripts.tunnel $(STACK)

# Takes away what `up` has made.
destroy: setup
	pulumi destroy --stack $(STACK)

## The lab

# The program on real LXD, Kubernetes, Cilium and FRR, in containers of their own. MODE: configmap or control-plane.
# HOST: fresh (the program installs what it needs) or prepared. LAN=1: with a router beyond that learns the addresses, and
# a client there.
MODE ?= configmap
HOST ?= fresh
lab: setup
	@python -m lab.stack up $(MODE) $(HOST) $(if $(LAN),lan)

# Takes the lab away.
lab-down: setup
	@python -m lab.stack destroy

# docs/status.svg and docs/doctor.svg, of the lab that is up.
pictures: setup
	@python -m scripts.pictures

# The same, checked from outside in both modes, and taken down. STORY: which of its files, in their order.
STORY ?= tests/e2e
e2e: setup
	pytest -m e2e -v --durations=0 $(STORY)
	@scripts/setup-routers
	pytest -m e2e -v -n 2 tests/scripts  # in namespaces of their own

# The program in the lab against Ansible, and where a first up spends its time, for docs/performance-lab.md. About an hour.
bench-lab: setup
	@python -m scripts.bench_lab

## For developers

# Every test but those that need a real LXD, the lab or other languages, or kill at every step. The engine's, the longest,
# begin.
test: setup
	pytest -n 4 --dist loadfile --no-loadscope-reorder -m 'not lxd and not e2e and not chaos and not examples'

# How much of components, settings and LXD's resources the unit tests reach: to count it doubles the time that they take.
coverage: setup
	pytest -n 4 --dist loadfile --cov --cov-fail-under=95 tests/unit tests/configurations

# The programs in examples/, each in its language, simulated. Wants Node.js, and Go where Pulumi was built by it.
examples: setup
	@scripts/setup-languages
	pytest -n 2 -m examples tests/examples

# What is killed anywhere is made good by the next run: scripts at every step, KILLS of an `up` at any moment.
KILLS ?= 200
chaos: setup
	KILLS=$(KILLS) pytest -n 4 -m chaos

# The tests against a real LXD: one that runs already, or one that is started for them.
test-lxd: python
	@scripts/setup-lxd start
	@pytest -m lxd; status=$$?; scripts/setup-lxd stop; exit $$status

# Style, types, shell scripts, who imports whom, workflows, and pages that are made from the code. Wants Go, for actionlint.
lint: python
	ruff check .
	ruff format --check .
	mypy .
	scripts/shell-files | xargs -0 shellcheck
	lint-imports --no-logo --no-cache
	go -C tools/actionlint tool actionlint
	zizmor --offline --no-progress .github
	python scripts/configuration_docs.py --check
	python scripts/troubleshooting_docs.py --check
	python scripts/component_schema.py --check

# What this checkout does to the stack that the commit BASE brings up, simulated: what is replaced, does traffic stop.
BASE ?= origin/main
changes: setup
	@python -m scripts.changes --on $(BASE)

# What requirements*.in name, with all that it needs and the hashes of it, into requirements*.txt.
lock: python
	@for list in requirements requirements-dev; do uv pip compile --quiet --universal --python-version=3.11 \
	--no-strip-extras --generate-hashes --output-file=$$list.txt $$list.in >/dev/null || exit; done

# The picture in README.md, from the demo's own state.
graph: demo
	@PULUMI_BACKEND_URL=file://$(CURDIR)/.cache/demo/state PULUMI_HOME=$(CURDIR)/.cache/demo/home \
	PULUMI_CONFIG_PASSPHRASE_FILE=$(CURDIR)/.cache/demo/passphrase pulumi stack export --stack dev | \
	python -m scripts.graph --write

# Preview and no-op up against the engine's floor, simulated, for docs/performance.md. Best on a machine that is idle.
bench: setup
	@python -m scripts.bench
