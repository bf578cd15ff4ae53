package guest

import "testing"

func TestPowerRules(t *testing.T) {
	assigned := []Need{{Want: WantWLAN, How: Share}, {Want: WantEthernet, How: Assign}}
	for name, tt := range map[string]struct {
		devices  []Need
		is, want Power
	}{
		"nothing said":              {nil, Power{}, Power{DoNothing, DoNothing, LowBattery{5, DoShutDown}}},
		"nothing said of a device":  {assigned, Power{}, Power{DoPause, DoNothing, LowBattery{5, DoShutDown}}},
		"only shared":               {assigned[:1], Power{}, Power{DoNothing, DoNothing, LowBattery{5, DoShutDown}}},
		"all said":                  {assigned, Power{DoSleep, StayAwake, LowBattery{20, DoPause}}, Power{DoSleep, StayAwake, LowBattery{20, DoPause}}},
		"when, and not what":        {nil, Power{LowBattery: LowBattery{At: 20}}, Power{DoNothing, DoNothing, LowBattery{20, DoShutDown}}},
		"nothing when it is at one": {nil, Power{LowBattery: LowBattery{1, DoNothing}}, Power{DoNothing, DoNothing, LowBattery{1, DoNothing}}},
	} {
		d := Definition{Name: "work", Memory: 1 << 30, Devices: tt.devices, Power: tt.is}
		if got := d.PowerRules(); got != tt.want || d.Validate() != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, d.Validate(), tt.want)
		}
	}
}
