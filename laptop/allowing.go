package laptop

import "slices"

// Allowing returns l as it is for somebody who overrides refusals of these codes by name:
// findings of them no longer refuse a device, and its verdict is made from the others. l
// itself is left as it is. What may not be overridden ([Code.Overridable]) still refuses.
func (l *Laptop) Allowing(codes ...Code) *Laptop {
	allowed := *l
	allowed.Devices = slices.Clone(l.Devices)
	for i := range allowed.Devices {
		d := &allowed.Devices[i]
		overridden := func(f Finding) bool {
			return f.Severity == Block && f.Code.Overridable() && slices.Contains(codes, f.Code)
		}
		if !slices.ContainsFunc(d.Findings, overridden) {
			continue
		}
		d.Findings = slices.Clone(d.Findings)
		for j := range d.Findings {
			if f := &d.Findings[j]; overridden(*f) {
				f.Severity = Warning
			}
		}
		d.Verdict = verdict(d.Findings)
	}
	return &allowed
}
