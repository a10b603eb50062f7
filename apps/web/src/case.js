// SPDX-License-Identifier: Apache-2.0
// One image, or one study, and the runs over it. The server reads it first, so that what is shown is what it understood.
import { images } from "./files.js";
import * as server from "./server.js";

const PREVIEW = { as: "nifti", report: false };

class Run {
  constructor(bundle, id = "") {
    Object.assign(this, { bundle, id, words: "waits", share: null, over: false, failed: false, job: null, volumes: [] });
  }

  /** Follow the job to its end; `told` is called with each change. */
  async follow(told) {
    for await (const job of server.follow(this.id)) {
      this.job = job;
      this.share = job.state === "queued" ? null : job.stage === "enhance" ? job.done : null;
      this.words = server.hasEnded(job) ? outcome(job) : progress(job);
      this.over = server.hasEnded(job);
      this.failed = this.over && job.state !== "succeeded";
      told();
    }
    return this.job;
  }

  fail(error) {
    Object.assign(this, { over: true, failed: true, words: `${error.message}${error.code ? ` [${error.code}]` : ""}` });
  }
}

function progress(job) {
  if (job.state === "queued") return job.position ? `${job.position} before it in the queue` : "waits for a worker";
  const left = job.eta_s === null ? "" : `, ${job.eta_s < 1.5 ? "a second" : `${Math.round(job.eta_s)} s`} left`;
  return `${job.stage || "begins"} ${Math.round(100 * job.done)} %${left}`;
}

function outcome(job) {
  if (job.state === "succeeded") return `done in ${((job.finished ?? 0) - (job.started ?? 0)).toFixed(1)} s${job.degradations.length ? `; ${job.degradations.join("; ")}` : ""}`;
  return job.error ? `${job.error.detail} [${job.error.code}]` : job.state;
}

export class Case {
  constructor(name, files, modality = "") {
    Object.assign(this, { name, files, inputs: null, words: "is sent", failed: false, ready: false, modality, place: 0, preview: new Run("identity"), runs: [], original: [], reference: null, changed() {} });
  }

  static kept({ name, inputs, preview, runs, modality }) {
    const made = new Case(name, []);
    made.inputs = inputs;
    made.modality = modality;
    made.preview.id = preview;
    made.runs = runs.map(({ bundle, id }) => new Run(bundle, id));
    return made;
  }

  asKept() {
    if (!this.inputs || this.failed) return null;
    const { name, inputs, modality } = this;
    return { name, inputs, modality, preview: this.preview.id, runs: this.runs.filter((run) => run.id).map(({ bundle, id }) => ({ bundle, id })) };
  }

  get running() {
    return this.runs.some((run) => !run.over);
  }

  async open(stage) {
    try {
      if (!this.preview.id) {
        const job = await server.send(this.files, "identity", PREVIEW, (share) => { this.words = `${Math.round(100 * share)} % sent`; this.changed(); });
        this.preview.id = job.id;
        this.inputs = job.inputs.filter((one) => one.role === "input");
      }
      this.files = [];
      const job = await this.preview.follow(() => { this.words = this.preview.words; this.changed(); });
      if (job.state !== "succeeded") throw new server.Refusal(0, job.error?.code ?? job.state, job.error?.detail ?? job.state);
      this.original = images(await server.bytes(job.id));
      this.modality = job.metrics.modalities?.length === 1 ? job.metrics.modalities[0] : this.modality;
      this.words = [this.modality, `${this.original.length === 1 ? "" : `${this.original.length} images`}`].filter(Boolean).join(" · ") || "read";
      this.ready = true;
      await Promise.all(this.runs.map((run) => this.finish(run)));
    } catch (error) {
      this.failed = true;
      this.words = `${error.message}${error.code ? ` [${error.code}]` : ""}`;
    }
    this.changed();
    return stage;
  }

  async enhance(names, values) {
    const begun = names.map((name, number) => {
      const run = new Run(name);
      this.runs = [...this.runs.filter((one) => one.bundle !== name), run];
      return [run, number ? {} : values];
    });
    this.changed();
    for (const [run, given] of begun) {
      try {
        run.id = (await server.again(this.inputs, run.bundle, Object.keys(given).length ? { options: given } : {})).id;
        this.changed();
      } catch (error) {
        run.fail(error);
      }
    }
    await Promise.all(begun.filter(([run]) => run.id).map(([run]) => this.finish(run)));
    this.changed();
  }

  async finish(run) {
    try {
      const job = await run.follow(() => this.changed());
      if (job.state === "succeeded") run.volumes = images(await server.bytes(job.id, "nifti"));
    } catch (error) {
      run.fail(error);
    }
    this.changed();
  }

  /** The job of a run at another strength; made once for each. */
  async at(run, strength) {
    const known = (run.weaker ??= new Map());
    if (!known.has(strength)) known.set(strength, this.weakened(run, strength).catch((error) => { known.delete(strength); throw error; }));
    return known.get(strength);
  }

  async weakened(run, strength) {
    const made = new Run(run.bundle, (await server.again(this.inputs, run.bundle, { ...run.job.params, strength })).id), job = await made.follow(() => {});
    if (job.state !== "succeeded") throw new server.Refusal(0, job.error?.code ?? job.state, job.error?.detail ?? job.state);
    return job;
  }

  cancel() {
    for (const run of this.runs) if (!run.over && run.id) server.cancel(run.id).catch((error) => run.fail(error));
  }

  /** A truth to measure against: it goes the same way as the image itself. */
  async refer(files, stage) {
    try {
      const job = await server.send(files, "identity", PREVIEW, () => {});
      const run = new Run("identity", job.id), ended = await run.follow(() => {});
      if (ended.state !== "succeeded") throw new server.Refusal(0, ended.error?.code, ended.error?.detail ?? ended.state);
      this.reference = images(await server.bytes(job.id))[0].bytes;
      this.changed();
    } catch (error) {
      stage.say(`The reference cannot be used: ${error.message}`);
    }
  }

  /** The bytes of an image of a run: the one with the place of the image that is looked at. */
  of(volumes) {
    const wanted = this.original[this.place]?.place ?? 0;
    return (volumes.find((one) => one.place === wanted) ?? (volumes.length === 1 && (this.original.length === 1 || volumes[0].place === 0) ? volumes[0] : null))?.bytes ?? null;
  }
}
