// What an option is: the kind of its value, how often it may be given, its default and its help.
//
// Invariant: an option's value type follows from its kind and its arity, so that the schema, the
// parsed values and the configuration cannot disagree; a default is written as an operator would
// write it and goes through the same parser. Must not know: which options there are, or where a
// text came from.

/** Where a value may come from, strongest first. */
export type Source = 'flag' | 'environment' | 'file';

export type LogFormat = 'json' | 'pretty';

/** What the defaults depend on; the caller knows the machine, this room does not. */
export interface MachineDefaults {
  readonly cores: number;
  readonly logFormat: LogFormat;
}

/** One sort of value: how a text becomes one, and how it is shown again. */
export interface Kind<T> {
  readonly name: string;
  /** Stands for the value in help; empty for a boolean, which takes none. */
  readonly placeholder: string;
  /** What is wrong with the text as an InvalidText; no bad text makes it throw. */
  readonly read: (text: string) => T | InvalidText;
  show(value: T): string;
  /** A map of the file as the text of a value; absent where a map cannot stand for one. */
  textOfMap?(pairs: MapPairs): string | InvalidText;
  /** The part of a wrong text that may be shown; all of it when left out. */
  shown?(text: string): string;
}

/** Keys of a map in the file, each once, with its value or values. */
export type MapPairs = readonly (readonly [key: string, values: readonly string[]])[];

export type ParseResult<V> =
  | { readonly ok: true; readonly value: V }
  | { readonly ok: false; readonly wrong: readonly WrongText[] };

export interface WrongText {
  readonly text: string;
  readonly message: string;
}

export interface Option<V> {
  readonly kind: Kind<unknown>;
  readonly help: string;
  readonly repeats: boolean;
  /** What separates several values in one text. */
  readonly separators: string;
  readonly isTuning: boolean;
  readonly sources: readonly Source[];
  /** The default as help and docs print it; empty when there is none. */
  readonly defaultText: string;
  defaultTexts(machine: MachineDefaults): readonly string[];
  parse(texts: readonly string[]): ParseResult<V>;
  show(value: V): readonly string[];
}

export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** The parsed values of a table, by option name. */
export type ValuesOf<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends Option<infer V> ? V : never;
};

export interface OptionFields {
  readonly help: string;
  readonly isTuning?: boolean;
  readonly sources?: readonly Source[];
}

/** Where a value may hold a comma. */
export const LINES = '\n';

export interface DefaultFields extends OptionFields {
  readonly default: string | ((machine: MachineDefaults) => string);
  /** What to print for a default that depends on the machine. */
  readonly defaultText?: string;
}

const ALL_SOURCES: readonly Source[] = ['flag', 'environment', 'file'];
/** Values of one repeatable option. Guess: ten times the largest client we have heard of. */
const VALUES_MAX = 1024;

/** An option with exactly one value, given or default. */
export function one<T>(kind: Kind<T>, fields: DefaultFields): Option<T> {
  return {
    ...shared(kind, fields),
    repeats: false,
    defaultText: defaultTextOf(fields),
    defaultTexts: (machine) => [defaultFor(fields, machine)],
    parse: (texts) => parseOne(kind, texts),
    show: (value) => [kind.show(value)],
  };
}

/** An option that may be absent. */
export function optional<T>(kind: Kind<T>, fields: OptionFields): Option<T | undefined> {
  return {
    ...shared(kind, fields),
    repeats: false,
    defaultText: '',
    defaultTexts: () => [],
    parse: (texts) => (texts.length === 0 ? { ok: true, value: undefined } : parseOne(kind, texts)),
    show: (value) => (value === undefined ? [] : [kind.show(value)]),
  };
}

/** A repeatable option. `emptyWord`, alone, means the empty list. */
export function many<T>(
  kind: Kind<T>,
  fields: OptionFields & {
    readonly default?: string;
    /** What to print for a default that follows from another option. */
    readonly defaultText?: string;
    readonly emptyWord?: string;
    readonly separators?: string;
    /** The texts that one text stands for. */
    readonly expand?: Expand;
    readonly valuesMax?: number;
  },
): Option<readonly T[]> {
  const { emptyWord, expand, valuesMax = VALUES_MAX } = fields;
  return {
    ...shared(kind, fields),
    repeats: true,
    separators: fields.separators ?? `,${LINES}`,
    defaultText: fields.defaultText ?? fields.default ?? '',
    defaultTexts: () => (fields.default === undefined ? [] : [fields.default]),
    parse: (texts) => {
      const isEmpty = texts.length === 1 && texts[0] === emptyWord;
      return isEmpty ? { ok: true, value: [] } : parseMany(kind, texts, { expand, valuesMax });
    },
    show: (values) =>
      values.length === 0 && emptyWord !== undefined
        ? [emptyWord]
        : values.map((value) => kind.show(value)),
  };
}

function shared<T>(kind: Kind<T>, fields: OptionFields) {
  return {
    kind,
    help: fields.help,
    separators: '',
    isTuning: fields.isTuning ?? false,
    sources: fields.sources ?? ALL_SOURCES,
  };
}

function defaultFor(fields: DefaultFields, machine: MachineDefaults): string {
  return typeof fields.default === 'string' ? fields.default : fields.default(machine);
}

function defaultTextOf(fields: DefaultFields): string {
  if (fields.defaultText !== undefined) return fields.defaultText;
  return typeof fields.default === 'string' ? fields.default : '';
}

function parseOne<T>(kind: Kind<T>, texts: readonly string[]): ParseResult<T> {
  const [text = '', ...rest] = texts;
  if (rest.length > 0) {
    return { ok: false, wrong: [{ text, message: 'is one of several values; give one' }] };
  }
  const value = kind.read(text);
  if (!(value instanceof InvalidText)) return { ok: true, value };
  return { ok: false, wrong: [{ text, message: value.message }] };
}

type Expand = (text: string) => readonly string[] | InvalidText;

interface Amount {
  readonly expand: Expand | undefined;
  readonly valuesMax: number;
}

function parseMany<T>(
  kind: Kind<T>,
  given: readonly string[],
  { expand = (text) => [text], valuesMax }: Amount,
): ParseResult<readonly T[]> {
  const runs = given.map((text) => ({ text, run: expand(text) }));
  const bad = runs.flatMap(({ text, run }) =>
    run instanceof InvalidText ? [{ text, message: run.message }] : [],
  );
  if (bad.length > 0) return { ok: false, wrong: bad };
  const texts = runs.flatMap(({ run }) => run as readonly string[]);
  if (texts.length > valuesMax) {
    const message = `is the first of ${texts.length} values; give at most ${valuesMax}`;
    return { ok: false, wrong: [{ text: texts[0] ?? '', message }] };
  }
  const values: T[] = [];
  const wrong: WrongText[] = [];
  for (const text of texts) {
    const value = kind.read(text);
    if (value instanceof InvalidText) wrong.push({ text, message: value.message });
    else values.push(value);
  }
  return wrong.length === 0 ? { ok: true, value: values } : { ok: false, wrong };
}

/** A property that is left out when there is no value. */
export function present<K extends string, V>(
  key: K,
  value: V | undefined,
): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]: V });
}

/** A kind read by `read`. */
export function kindOf<T>(
  name: string,
  placeholder: string,
  read: (text: string) => T | InvalidText,
  show: (value: T) => string,
): Kind<T> {
  return { name, placeholder, read, show };
}

/** Says what is wrong with a text and what is right: continues a sentence that quoted the text. */
export class InvalidText {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}
