// Amounts as Kubernetes writes them, such as 500m, 0.5 or 64Mi, compared by what they are worth.
//
// Invariant: as the API server takes them of a container, in thousandths and rounded up; time is
// bounded whatever the text; what is no quantity equals itself alone. Must not know: what there is
// so much of.

const FORM = /^\+?(\d{0,30})(?:\.(\d{0,30}))?(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)$/;
const DECIMAL = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const MILLI = 3;

export function isSameQuantity(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'string' || typeof other !== 'string') return false;
  const [a, b] = [thousandthsOf(one), thousandthsOf(other)];
  return a !== undefined && a === b;
}

function thousandthsOf(text: string): bigint | undefined {
  const [matched, whole = '', fraction = '', exponent = '0', suffix = ''] = FORM.exec(text) ?? [];
  if (matched === undefined || whole + fraction === '') return undefined;
  const isBinary = BINARY.includes(suffix);
  const binary = isBinary ? BINARY.indexOf(suffix) * 10 : 0;
  const decimal = isBinary ? 0 : (DECIMAL.indexOf(suffix) - MILLI) * 3;
  const digits = BigInt(whole + fraction) << BigInt(binary);
  const scale = Number(exponent) + decimal + MILLI - fraction.length;
  if (scale >= 0) return digits * 10n ** BigInt(scale);
  const divisor = 10n ** BigInt(-scale);
  return (digits + divisor - 1n) / divisor;
}
