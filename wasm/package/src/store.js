// Models kept on this machine: the origin's private file system, or a folder in Node.
//
// A file grows by bytes that have been checked; beside it lies what is known of its origin. So a
// file that is too short is a download to go on with, and one of full length is a model.

import { KingletError } from './errors.js';
import { nameOf as keyOf, parse } from './hub.js';

const FOLDER = 'kinglet';

/** The name under which an address is kept. */
export async function nameOf(url) {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(url));
  const bytes = [...new Uint8Array(digest).subarray(0, 16)];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What went wrong while storing, as an error with a remedy. */
export function storageError(error) {
  const full = error.name === 'QuotaExceededError' || error.code === 'ENOSPC';
  return full
    ? new KingletError('storage-full', 'there is no room to keep the model on this device')
    : new KingletError('storage', `the model cannot be kept on this device: ${error.message}`);
}

/** A file in the origin's private file system, locked while it is open. */
export class OpfsFile {
  #handle;
  #folder;
  #name;

  static async open(url) {
    if (!globalThis.navigator?.storage?.getDirectory) {
      throw new KingletError('storage', 'this page has no file system; it must come over https');
    }
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER, { create: true });
    const name = await nameOf(url);
    const file = await folder.getFileHandle(`${name}.kinglet`, { create: true });
    const opened = new OpfsFile();
    opened.#handle = await file.createSyncAccessHandle();
    opened.#folder = folder;
    opened.#name = name;
    return opened;
  }

  get size() {
    return this.#handle.getSize();
  }

  /** Fills `view` from `at`. */
  read(view, at) {
    if (this.#handle.read(view, { at }) !== view.length) throw new Error('the file is shorter');
  }

  write(view, at) {
    const written = this.#handle.write(view, { at });
    if (written !== view.length) throw new DOMException('short write', 'QuotaExceededError');
  }

  truncate(size) {
    this.#handle.truncate(size);
  }

  close() {
    this.#handle.flush();
    this.#handle.close();
  }

  async readNote() {
    try {
      const file = await this.#folder.getFileHandle(`${this.#name}.json`);
      return JSON.parse(await (await file.getFile()).text());
    } catch {
      return null; // none, or one cut by a crash: the bytes are checked all the same
    }
  }

  async writeNote(note) {
    const file = await this.#folder.getFileHandle(`${this.#name}.json`, { create: true });
    const handle = await file.createSyncAccessHandle();
    handle.truncate(0);
    handle.write(new TextEncoder().encode(JSON.stringify(note)), { at: 0 });
    handle.close();
  }
}

/** A file in a folder, for Node. */
export class FolderFile {
  #fs;
  #fd;
  #path;

  static async open(url, folder) {
    const fs = await import(/* @vite-ignore */ 'node:fs');
    fs.mkdirSync(folder, { recursive: true });
    const opened = new FolderFile();
    opened.#fs = fs;
    opened.#path = `${folder}/${await nameOf(url)}`;
    const { O_RDWR, O_CREAT } = fs.constants;
    opened.#fd = fs.openSync(`${opened.#path}.kinglet`, O_RDWR | O_CREAT, 0o644);
    return opened;
  }

  get size() {
    return this.#fs.fstatSync(this.#fd).size;
  }

  read(view, at) {
    if (this.#fs.readSync(this.#fd, view, 0, view.length, at) !== view.length) {
      throw new Error('the file is shorter');
    }
  }

  write(view, at) {
    for (let done = 0; done < view.length; ) {
      done += this.#fs.writeSync(this.#fd, view, done, view.length - done, at + done);
    }
  }

  truncate(size) {
    this.#fs.ftruncateSync(this.#fd, size);
  }

  close() {
    this.#fs.closeSync(this.#fd);
  }

  async readNote() {
    try {
      return JSON.parse(this.#fs.readFileSync(`${this.#path}.json`, 'utf8'));
    } catch {
      return null;
    }
  }

  async writeNote(note) {
    this.#fs.writeFileSync(`${this.#path}.json`, JSON.stringify(note));
  }
}

/** What is kept in the origin's private file system, for pages. */
export const stored = {
  /** @returns {Promise<{url: string, bytes: number, complete: boolean}[]>} */
  async list() {
    const folder = await openFolder();
    const models = [];
    for await (const [name, handle] of folder?.entries() ?? []) {
      if (!name.endsWith('.json')) continue;
      try {
        const note = JSON.parse(await (await handle.getFile()).text());
        const data = await folder.getFileHandle(name.replace('.json', '.kinglet'));
        const bytes = (await data.getFile()).size;
        models.push({ url: note.url, bytes, complete: bytes === note.length });
      } catch {
        // being removed or written by another page
      }
    }
    return models;
  },

  /** Removes the model of an address; does nothing if it is not there. */
  async remove(url) {
    const folder = await openFolder();
    // Behind # stands how a checkpoint was converted.
    const [text, how] = String(url).split(/(?=#)/);
    const model = parse(text);
    const name = await nameOf(model ? keyOf(model) + (how ?? '') : new URL(url, document.baseURI).href);
    for (const ending of ['.kinglet', '.json']) {
      await folder?.removeEntry(name + ending).catch((error) => {
        if (error.name !== 'NotFoundError') throw storageError(error);
      });
    }
  },

  /** Removes everything. */
  async clear() {
    const root = await navigator.storage?.getDirectory();
    await root?.removeEntry(FOLDER, { recursive: true }).catch((error) => {
      if (error.name !== 'NotFoundError') throw storageError(error);
    });
  },
};

async function openFolder() {
  const root = await navigator.storage?.getDirectory();
  return root?.getDirectoryHandle(FOLDER).catch(() => null);
}
