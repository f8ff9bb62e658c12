# Countersign. `make help` lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := bin/countersign
GO ?= go
# Tests that need a browser or a database set themselves up; nothing is skipped.
TESTFLAGS ?=

.PHONY: help gen check test run bench build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

build: ## build bin/countersign
	@echo "building $(BIN) (the first time takes a minute or two: dependencies are compiled once)"
	@$(GO) build -o $(BIN) ./cmd/countersign

gen: ## generate code and documentation from their sources
	$(GO) tool gqlgen generate
	cd bench/handwritten && $(GO) tool gqlgen generate
	$(GO) test ./proposals ./cmd/countersign -run 'TestStatesPage|TestDocsCommands' -update

check: ## formatting, vet, linters, generated code, import rules, vulnerabilities
	@bash .ci/check

test: ## every test, with the race detector; sets up what it needs
	@bash .ci/test $(TESTFLAGS)

run: build ## build and start the demo; Ctrl-C ends it
	@$(BIN) demo $(ARGS)

bench: ## measure beside a hand-written server and the physical limit
	@bash bench/run.sh $(ARGS)

clean: ## remove what was built
	rm -rf bin
