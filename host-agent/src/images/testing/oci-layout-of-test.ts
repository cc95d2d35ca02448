import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { OCI_ARCHITECTURE } from '../import/image-config.js';

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: { os: string; architecture: string };
  annotations?: Record<string, string>;
}

const digestOf = (content: Buffer): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;

/** An OCI image layout made by hand, so that every byte of it can be wrong. */
export class OciLayoutOfTest {
  readonly layers: Descriptor[] = [];
  readonly diffIds: string[] = [];
  /** What becomes index.json. */
  readonly manifests: Descriptor[] = [];

  constructor(readonly path: string) {
    mkdirSync(join(path, 'blobs/sha256'), { recursive: true });
    writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  }

  blobPath = (digest: string): string => join(this.path, 'blobs', digest.replace(':', '/'));

  addBlob(content: Buffer | string, mediaType: string): Descriptor {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    writeFileSync(this.blobPath(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  }

  addLayerTar(
    tar: Buffer,
    { mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip', blob = gzipSync(tar) } = {},
  ): this {
    this.layers.push(this.addBlob(blob, mediaType));
    this.diffIds.push(digestOf(tar));
    return this;
  }

  /** What is in a folder, owned by root. */
  async addLayer(folder: string): Promise<this> {
    const { stdout } = await execa('tar', ['-c', '--owner=0', '--group=0', '--numeric-owner', '-C', folder, '.'], {
      encoding: 'buffer',
    });
    return this.addLayerTar(Buffer.from(stdout));
  }

  /** Configuration, manifest and index. @param name of the image in the index */
  finish(
    config: object = {},
    {
      architecture = OCI_ARCHITECTURE,
      name,
      platform,
    }: { architecture?: string; name?: string; platform?: string } = {},
  ): this {
    const described = this.addBlob(
      JSON.stringify({ architecture, os: 'linux', config, rootfs: { type: 'layers', diff_ids: this.diffIds } }),
      'application/vnd.oci.image.config.v1+json',
    );
    const manifest = this.addBlob(
      JSON.stringify({ schemaVersion: 2, config: described, layers: this.layers }),
      'application/vnd.oci.image.manifest.v1+json',
    );
    if (name !== undefined) manifest.annotations = { 'org.opencontainers.image.ref.name': name };
    if (platform !== undefined) manifest.platform = { os: 'linux', architecture: platform };
    this.manifests.push(manifest);
    return this.writeIndex();
  }

  writeIndex(): this {
    writeFileSync(join(this.path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: this.manifests }));
    return this;
  }

  read = (digest: string): Buffer => readFileSync(this.blobPath(digest));
}
