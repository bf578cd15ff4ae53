// Package privsep parts the daemon from root. The [Server] is the broker: root, which does a few
// fixed things for one user and parses little. The [Client] is what the daemon, which has no
// rights, asks it by: one request and one answer a connection, of a bounded size, with what is
// opened handed over.
//
// What the daemon may not decide it is not asked to: for whom a definition is changed the broker
// finds out by itself, of the connection that the request came by.
package privsep
