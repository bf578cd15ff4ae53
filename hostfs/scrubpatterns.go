package hostfs

import (
	"regexp"
	"sync"
)

// scrubPatterns are what identities look like in text.
type scrubPatterns struct {
	mac, macName, macRun, uuid, id, lvm, wwn, short         *regexp.Regexp // forms
	serialKey, serial, number, address                      *regexp.Regexp
	mail, kernel, pointer, cpuSerial, option, nsfs, crypted *regexp.Regexp
}

// patterns compiles them when they are first needed: few commands scrub anything.
var patterns = sync.OnceValue(func() *scrubPatterns {
	return &scrubPatterns{
		mac:     regexp.MustCompile(`[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5,19}|(?:-[0-9A-Fa-f]{2}){5})(?:\b|_)`),
		macName: regexp.MustCompile(`\b(en|wl|ww|sl|ib)x([0-9a-f]{12})\b`),
		macRun:  regexp.MustCompile(`[0-9a-f]{12,}`),
		uuid:    regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`),
		id:      regexp.MustCompile(`(^|[^0-9A-Za-z])([0-9a-f]{32})\b`),
		lvm:     regexp.MustCompile(`LVM-[0-9A-Za-z]{64}`),
		wwn:     regexp.MustCompile(`\b(wwn-0x|naa\.|eui\.)([0-9A-Fa-f]{16,32})\b`),
		short:   regexp.MustCompile(`\b(UUID=|PARTUUID=|uuid/)([0-9A-Fa-f-]{4,})`),

		serialKey: regexp.MustCompile(`^(?:[A-Z_]*SERIAL[A-Z_]*|[A-Z_]*UNIQ|[A-Z_]*WWID|UNIQUE_ID)$`),
		serial:    regexp.MustCompile(`^[0-9A-Za-z._-]+$`),
		number:    regexp.MustCompile(`^(?:0[xX])?[0-9A-Fa-f]+(?:[:._-][0-9A-Fa-f]+)*$`),
		address:   regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`),

		mail:      regexp.MustCompile(`\([^ @()]+@[^ @()]+\)`),
		kernel:    regexp.MustCompile(`(?m)^ *[0-9a-f]+-[0-9a-f]+ : Kernel .*\n`),
		pointer:   regexp.MustCompile(`\b0x[0-9a-f]{16}\b`),
		cpuSerial: regexp.MustCompile(`(?m)^(Serial\s*:\s*)(\S+)`),
		option:    regexp.MustCompile(`^[a-z][a-z0-9_]{0,24}$`),
		nsfs:      regexp.MustCompile(`^[a-z_]+:\[[0-9]+\]$`),
		crypted:   regexp.MustCompile(`^(CRYPT-[A-Z0-9]+-)(?:([0-9a-f]{32})-)?(.*)$`),
	}
})
