// Package picture draws a machine's PCI functions as a tree, with the IOMMU groups as
// areas behind them, the verdict on each function as a badge, and a mark where
// isolation is missing: as SVG to look at, as DOT for graphviz.
//
// It knows nothing of hardware: it draws what it is given. The same [Picture] gives the
// same bytes, whatever the texts in it say the result is well-formed, and its size is
// bounded: of a machine with thousands of functions the first of each bus are drawn
// and the others counted. The SVG has no scripts, refers to nothing outside itself, and
// follows the light or dark scheme of who shows it where CSS is understood, light
// elsewhere.
package picture
