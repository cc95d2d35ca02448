/** A message in protobuf's JSON mapping. */
export type JsonMessage = Readonly<Record<string, unknown>>;

/** How a call ended: with an answer, or with a status and its details, each with its `@type`. */
export type CallOutcome =
  | { readonly ok: true; readonly response: JsonMessage }
  | {
      readonly ok: false;
      readonly code: number;
      readonly message: string;
      readonly details: readonly JsonMessage[];
    };

/** A client that knows nothing of the API but its address: everything else it learns by reflection. */
export interface ApiCaller {
  /** Names of the services, sorted. */
  list(): Promise<string[]>;
  /** Names of a service's methods, or of a message's fields as the .proto file spells them; in order. */
  describe(symbol: string): Promise<string[]>;
  /** A call without streams. @param method `package.Service/Method` */
  call(method: string, request: JsonMessage): Promise<CallOutcome>;
}
