// Package power says what becomes of guests when the power of the host changes: when it
// sleeps, when its lid is closed, and when its battery is nearly empty.
//
// [Decide] is the whole of it: from the rules of the guests, from what is done with them
// already and from how the host is, it says what there is to do, in order. It remembers
// nothing. Who is killed in the middle decides anew, by what then is: that a guest stands
// still, and why, is known by its runner.
//
// The rest is where the facts come from: [ReadBattery] and [ReadLid] read files, [Lid] and
// [Logind] wait for events, [Lost] says of devices whether they still work.
package power
