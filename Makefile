# make run    set up, build, look at this machine, prove the cycle in the emulated laptop
# make test   set up, then every check and every test
# make fuzz   every fuzz target for FUZZTIME, 5s; part of make test, which takes 3s
# make build  bin/indy, and bin/indy-jail, which it starts QEMU by
# make install    what make build has made, units, completions and docs, to DESTDIR and PREFIX, /usr
# make uninstall  remove what make install has put there
# make lab    set up: packages that are missing, and the emulated laptop's kernel
# make system a Debian with systemd that the tests boot in it; part of make test
# make clean  remove what was built; the kernel stays

export PATH := $(PATH):/usr/local/go/bin
export GOTOOLCHAIN ?= auto

# Where make install takes programs from, and where it puts them.
BIN = bin
PREFIX = /usr
DESTDIR ?=

STATICCHECK := v0.8.2
VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)

FUZZTIME ?= 5s
FUZZJOBS ?= $(shell nproc)

# Tests that the race detector does not see, in full, and in whatever package they are: it
# makes them up to eight times as long, and what they enumerate goes on in one goroutine each or
# is what a program does that they start, which is built without it. HARDWARE is such a test, too:
# it takes one processor for minutes.
HARDWARE := TestGuestsDriveHardware
PLAIN := TestCrashPoints|TestCrashKinds|TestSoak|TestFault03KilledRecovering|TestFault18EveryByteOfALease|TestFault23WriteErrors|TestKindsRecover|TestSIGKILL|TestSchemas|TestFromReports|TestCaptureRoundTrip|TestIdentityCaptures|TestCaptureKeepsFacts|TestBombs|TestFault01KilledAssigning|TestFault02KilledReleasing|TestFault17DiskFullAssign|TestFault17DiskFullRelease|TestFault48DescriptorLeak|TestApplyAndUndoLeaveNothing|TestEveryWriteFails|TestResidueEveryOrder

.PHONY: run test test-hardware test-fuzz test-plain test-race fuzz build install uninstall lab system clean

# 5: this host cannot, for want of an IOMMU. 1: it can be told only in part. Neither
# says anything about indy.
look = @echo '$$ bin/indy $(1)'; bin/indy $(1) || { status=$$?; [ $$status = 1 ] || [ $$status = 5 ] || exit $$status; }

run: lab
	@$(MAKE) --no-print-directory build
	$(call look,devices)
	$(call look,groups)
	@echo '$$ bin/indy selftest'; bin/indy selftest

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/indy ./cmd/indy-jail

# It does not build: root, who installs, needs no Go for it.
install uninstall:
	@BIN='$(BIN)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' packaging/install.sh $@

lab:
	@lab/setup.sh

system: lab
	@lab/system.sh

test: lab system .tools/staticcheck-$(STATICCHECK)
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.*')); \
		[ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	.tools/staticcheck-$(STATICCHECK) ./...
	CGO_ENABLED=0 go build -trimpath ./...
	CGO_ENABLED=1 go build -trimpath ./...
	@$(MAKE) --no-print-directory -j2 test-hardware test-fuzz
	@$(MAKE) --no-print-directory -j2 test-plain test-race

# Beside each other, or a processor would have nothing to do for minutes. What one of two prints is
# printed at its end, or lines of it could come within what the other says.
define AT_END
out=$$("$$@" 2>&1); status=$$?; echo "$$out"; exit $$status
endef
export AT_END

test-hardware:
	@sh -c "$$AT_END" at_end go test -timeout 40m -run '^$(HARDWARE)$$' ./internal/cli

# The guests of the other one play a sound, and have a processor when they want it.
test-fuzz:
	@FUZZTIME=$${FUZZTIME-3s} nice -n 19 $(MAKE) --no-print-directory fuzz FUZZJOBS=1

test-plain:
	@sh -c "$$AT_END" at_end go test -p 1 -timeout 40m -run '^($(PLAIN))$$' $$(grep -rlE --include='*_test.go' '^func ($(PLAIN))\(' . | xargs -n 1 dirname | sort -u)

test-race:
	CGO_ENABLED=1 go test -race -timeout 40m -skip '^($(PLAIN)|$(HARDWARE))$$' ./...

# Minimising would take most of the time that a target has. A target that is stopped in
# the middle of a run sometimes fails with "context deadline exceeded" and no failing
# input, which is go test's fault and not the target's; it is then run once more.
# What it prints is how many inputs it tried; "coverage: 3/9" means that the time was up
# when 3 of the 9 kept from earlier runs were tried (go clean -fuzzcache forgets them).
# Exit status 255 has xargs begin no other target.
define FUZZ_ONE
dir=$$1 target=$$2
cd "$$dir" || exit 255
run() { out=$$("$$FUZZ_DIR/$$dir/fuzz.test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 10x -test.parallel 1 -test.paniconexit0 -test.fuzzcachedir "$$FUZZ_KEPT/$${dir#./}" 2>&1); }
run || { case "$$out" in *'Failing input'*) false;; *'context deadline exceeded'*) run;; *) false;; esac; } || { echo "$$out"; exit 255; }
case "$$out" in *'without coverage'*) echo "$$out"; exit 255;; esac
execs=$$(echo "$$out" | grep -o 'execs: [0-9]*\|coverage: [0-9]*/[0-9]*' | tail -1)
[ -n "$$execs" ] || { echo "fuzz $$dir $$target ran nothing: $$out"; exit 255; }
echo "fuzz $$dir $$target: $$execs"
endef
export FUZZ_ONE

FUZZ_LIST = find . -name '*_test.go' -not -path './.*' -exec grep -Ho '^func Fuzz[A-Za-z0-9_]*' {} + | sed 's|/[^/]*_test.go:func | |' | sort

# A package's tests are linked once, and not once a target. What is of interest is kept where
# go test keeps it. One target a processor: each has one worker, and what a target takes to
# read its seeds goes on beside another.
fuzz:
	@FUZZ_DIR=$$(mktemp -d) && trap 'rm -rf "$$FUZZ_DIR"' EXIT && trap 'exit 1' HUP INT TERM && \
		FUZZ_KEPT=$$(go env GOCACHE)/fuzz/$$(go list -m) && export FUZZ_DIR FUZZ_KEPT && \
		$(FUZZ_LIST) | cut -d ' ' -f 1 | uniq | xargs -P $(FUZZJOBS) -I DIR go test -c -fuzz=. -vet=off -ldflags=-w -o "$$FUZZ_DIR/DIR/fuzz.test" DIR && \
		$(FUZZ_LIST) | xargs -P $(FUZZJOBS) -n 2 sh -c "$$FUZZ_ONE" fuzz

# Built by the Go release that go.mod selects, or it could not read this code.
.tools/staticcheck-$(STATICCHECK): | lab
	GOBIN='$(CURDIR)/.tools' GOTOOLCHAIN=$$(go env GOVERSION) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	mv .tools/staticcheck $@

clean:
	rm -rf bin .tools .lab/initramfs-*.zst
