# make run    set up, build, look at this machine, prove the cycle in the emulated laptop
# make test   set up, then every check and every test
# make build  bin/indy
# make lab    set up: packages that are missing, and the emulated laptop's kernel
# make clean  remove what was built; the kernel stays

export PATH := $(PATH):/usr/local/go/bin
export GOTOOLCHAIN ?= auto

STATICCHECK := v0.8.2
VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)

.PHONY: run test build lab clean

# 5: this host cannot, for want of an IOMMU. 1: it can be told only in part. Neither
# says anything about indy.
look = @echo '$$ bin/indy $(1)'; bin/indy $(1) || { status=$$?; [ $$status = 1 ] || [ $$status = 5 ] || exit $$status; }

run: lab
	@$(MAKE) --no-print-directory build
	$(call look,devices)
	$(call look,groups)
	@echo '$$ bin/indy selftest'; bin/indy selftest

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/indy ./cmd/indy

lab:
	@lab/setup.sh

test: lab .tools/staticcheck-$(STATICCHECK)
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.*')); \
		[ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	.tools/staticcheck-$(STATICCHECK) ./...
	CGO_ENABLED=0 go build -trimpath ./...
	CGO_ENABLED=1 go build -trimpath ./...
	CGO_ENABLED=1 go test -race -timeout 40m ./...

# Built by the Go release that go.mod selects, or it could not read this code.
.tools/staticcheck-$(STATICCHECK): | lab
	GOBIN='$(CURDIR)/.tools' GOTOOLCHAIN=$$(go env GOVERSION) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	mv .tools/staticcheck $@

clean:
	rm -rf bin .tools .lab/initramfs-*.zst
