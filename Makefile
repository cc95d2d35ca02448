# Offshoot. `make demo` and `make test` do everything, set-up included.
.DEFAULT_GOAL := help
FUZZ_CASES ?= 1000000
LAB ?=
.PHONY: help setup build demo test test-lab fuzz mutants lint bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing (apt, npm ci); safe to repeat
	@bash scripts/setup.sh

build: setup ## Generate stubs, compile, bundle the guest agent
	@npm run --silent build

demo: build ## Boot a real VM, park it, fork it four times with different tasks, check the answers
	@node host-agent/dist/demo/main.js

test: build ## Run every check and test, real VMs included
	@bash scripts/test.sh

test-lab: build ## Run LAB=FILES (default: all drivers) in a VM where KVM, vsock, TAP and nftables are real; needs root
	@node test/dist/lab/main.js $(LAB)

fuzz: setup ## Try the properties of the mailboxes with FUZZ_CASES cases each (1,000,000: some ten minutes)
	@OFFSHOOT_FUZZ_CASES=$(FUZZ_CASES) npx vitest run --project unit .property.test.ts shared/src/mailbox/frame.test.ts shared/src/mailbox/ack-line.test.ts shared/src/mailbox/segments.test.ts

mutants: build ## Take out each check of the mailboxes in turn; fails when no unit test notices
	@node test/dist/mutants/main.js

lint: setup ## Types, ESLint, format, module arrows, proto style, stubs current
	@bash scripts/lint.sh

bench: build ## Measure forks on this machine, write bench/results/ (BENCH=--captures, BENCH=--mailboxes: those)
	@node host-agent/dist/bench/main.js $(BENCH)

clean: ## Remove what was built; images and Node packages stay
	@rm -rf proto/dist shared/dist host-agent/dist guest-agent/dist sdk/javascript/dist sdk/conformance/dist test/dist coverage
