package iommu

// AMDFeatures is the extended feature register of one of AMD's IOMMU units (AMD I/O
// Virtualization Technology specification 48882, MMIO offset 0030h).
type AMDFeatures uint64
