package gpu

// IGDIDs returns how many device ids are listed, counting one that is listed twice twice.
func IGDIDs() int {
	n := 0
	for _, p := range igdPlatforms {
		n += len(p.devices)
	}
	return n
}
