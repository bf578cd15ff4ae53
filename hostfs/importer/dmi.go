package importer

import "strings"

type attribute struct{ name, value string }

const dmiDir = "sys/devices/virtual/dmi/id"

// putDMI writes what the firmware says of the machine.
func (b *builder) putDMI(all []attribute) {
	for _, a := range all {
		b.putKnown(dmiDir+"/"+a.name, clean(a.value))
	}
	if b.made[dmiDir] {
		b.link("sys/class/dmi/id", dmiDir)
	}
}

// dmiKeys are the fields of a DMI module alias in their order, from the kernel's
// drivers/firmware/dmi-id.c; kernels differ in which of them they write.
var dmiKeys = []attribute{
	{"bvn", "bios_vendor"}, {"bvr", "bios_version"}, {"bd", "bios_date"}, {"br", "bios_release"}, {"efr", "ec_firmware_release"},
	{"svn", "sys_vendor"}, {"pn", "product_name"}, {"pvr", "product_version"},
	{"rvn", "board_vendor"}, {"rn", "board_name"}, {"rvr", "board_version"},
	{"cvn", "chassis_vendor"}, {"ct", "chassis_type"}, {"cvr", "chassis_version"}, {"sku", "product_sku"}, {"pfa", "product_family"},
}

// parseDMIAlias reads dmi:bvnLENOVO:bvr83ET53WW(1.23):... The kernel leaves blanks
// and colons out of the values.
func parseDMIAlias(s string) []attribute {
	rest, ok := strings.CutPrefix(s, "dmi:")
	if !ok {
		return nil
	}
	var all []attribute
	keys := dmiKeys
	for field := range strings.SplitSeq(rest, ":") {
		for i, k := range keys {
			if value, ok := strings.CutPrefix(field, k.name); ok {
				all = append(all, attribute{k.value, value})
				keys = keys[i+1:]
				break
			}
		}
	}
	return all
}
