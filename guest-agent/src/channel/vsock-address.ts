/** `struct sockaddr_vm` and the numbers in it: linux/vm_sockets.h, vsock(7). */
export const AF_VSOCK = 40;
const ADDRESS_BYTES = 16;
const CID_ANY = 0xffff_ffff;
/** The host, whatever hypervisor it has. */
export const HOST_CID = 2;

/** A port of the host. */
export const hostPort = (port: number): Buffer => vsockAddress(HOST_CID, port);

/** A port of this guest, for connections from anywhere. */
export const guestPort = (port: number): Buffer => vsockAddress(CID_ANY, port);

/** A guest's own programs, and those of guests beside it, have other addresses: no other than the host speaks as it. */
export const isFromHost = (peer: Buffer): boolean =>
  peer.length >= ADDRESS_BYTES && peer.readUInt16LE(0) === AF_VSOCK && peer.readUInt32LE(8) === HOST_CID;

function vsockAddress(cid: number, port: number): Buffer {
  const address = Buffer.alloc(ADDRESS_BYTES);
  address.writeUInt16LE(AF_VSOCK, 0);
  address.writeUInt32LE(port, 4);
  address.writeUInt32LE(cid, 8);
  return address;
}
