import { once } from 'node:events';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { OciLayoutOfTest } from './oci-layout-of-test.js';

/** How it answers for a blob; it may never end. */
export type BlobAnswer = (content: Buffer, response: ServerResponse) => void;

/** A registry on loopback that has one image, `app:1`, and answers for its blobs as it is told. */
export class RegistryOfTest implements AsyncDisposable {
  private constructor(
    private readonly server: ReturnType<typeof createServer>,
    /** `HOST:PORT`. */
    readonly host: string,
  ) {}

  static async serve(layout: OciLayoutOfTest, answer: BlobAnswer): Promise<RegistryOfTest> {
    const [manifest] = layout.manifests;
    const server = createServer((request, response) => {
      const digest = /^\/v2\/app\/(?:blobs|manifests)\/(.+)$/.exec(request.url ?? '')?.[1];
      if (request.url === '/v2/') response.end('{}');
      else if (manifest !== undefined && (digest === '1' || digest === manifest.digest)) {
        response.setHeader('Content-Type', manifest.mediaType);
        response.setHeader('Docker-Content-Digest', manifest.digest);
        response.end(layout.read(manifest.digest));
      } else if (digest === undefined) response.writeHead(404).end();
      else answer(layout.read(digest), response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new RegistryOfTest(server, `127.0.0.1:${String((server.address() as AddressInfo).port)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}
