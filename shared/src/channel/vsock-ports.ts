/**
 * The vsock port on which the guest agent takes the host's one connection, where the channel is vsock and not virtio-serial.
 * From 1024 on a port needs no privilege in the guest (vsock(7)); the rest is the letters OF, so that it is nobody else's.
 */
export const GUEST_CHANNEL_PORT = 1024 + 0x4f46;

/** The host's vsock port for acknowledgements; in a frame a port has 16 bits. */
export const HOST_ACK_PORT = GUEST_CHANNEL_PORT + 1;
