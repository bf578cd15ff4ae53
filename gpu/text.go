package gpu

// maxText bounds what a device or a saved machine says, in characters.
const maxText = 126

// Numbers in EDID and in ROMs have their lowest byte first.

func le16(b []byte) int { return int(b[0]) | int(b[1])<<8 }

func le24(b []byte) int { return le16(b) | int(b[2])<<16 }

func le32(b []byte) uint32 { return uint32(le16(b)) | uint32(le16(b[2:]))<<16 }
