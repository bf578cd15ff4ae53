package hostfs

import (
	"regexp"
	"sync"
)

// scrubPatterns are what identities look like in text.
type scrubPatterns struct {
	mac, macName, uuid, id, lvm, short, uevent, home, media, mail, hostArg, address, kernel, pointer, ipv6 *regexp.Regexp
}

// patterns compiles them when they are first needed: few commands scrub anything.
var patterns = sync.OnceValue(func() *scrubPatterns {
	return &scrubPatterns{
		mac:     regexp.MustCompile(`\b[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5,19}\b`),
		macName: regexp.MustCompile(`\b(en|wl|ww)x([0-9a-f]{12})\b`),
		uuid:    regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`),
		id:      regexp.MustCompile(`(^|[^0-9A-Za-z])([0-9a-f]{32})\b`),
		lvm:     regexp.MustCompile(`LVM-[0-9A-Za-z]{64}`),
		short:   regexp.MustCompile(`\b(UUID=|PARTUUID=|uuid/)([0-9A-Fa-f-]{4,})`),
		uevent:  regexp.MustCompile(`(?m)^((?:[A-Z_]*SERIAL[A-Z_]*|[A-Z_]*UNIQ|[A-Z_]*WWID|UNIQUE_ID)="?)([^"\n]+)`),
		home:    regexp.MustCompile(`(/home/|/run/user/)([^/\s]+)`),
		media:   regexp.MustCompile(`(/run/media/|/media/| - (?:nfs4?|cifs|smb3|9p|ceph|fuse\.\S+) )(\S+)`),
		mail:    regexp.MustCompile(`\([^ @()]+@[^ @()]+\)`),
		hostArg: regexp.MustCompile(`\b(?:systemd\.)?hostname=([^\s"]+)`),
		address: regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`),
		kernel:  regexp.MustCompile(`(?m)^ *[0-9a-f]+-[0-9a-f]+ : Kernel .*\n`),
		pointer: regexp.MustCompile(`\b0x[0-9a-f]{16}\b`),
		ipv6:    regexp.MustCompile(`\b[0-9a-f]{32}\b`),
	}
})
