// The checksum of PROXY protocol headers: CRC-32C (Castagnoli), as RFC 4960 appendix B has it.
//
// Invariant: the same number as every other implementation: 0xe3069283 for the text "123456789".
// Must not know: what is summed. Headers are short and rare, so a table by byte is fast enough.

/** The polynomial with its bits reversed (specification). */
const POLYNOMIAL = 0x82f6_3b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) {
    value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  }
  return value;
});

export function crc32c(bytes: Uint8Array): number {
  let sum = 0xffff_ffff;
  for (const byte of bytes) sum = (sum >>> 8) ^ (TABLE[(sum ^ byte) & 0xff] as number);
  return (sum ^ 0xffff_ffff) >>> 0;
}
