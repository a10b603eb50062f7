// SPDX-License-Identifier: Apache-2.0
// The frames of a clip, one after the other, at a rate of the reader's.

const RATES = [5, 10, 15, 25, 40, 60];

export class Clip {
  /** `show` is called with the frame to draw, from 0. */
  constructor(frames, show) {
    Object.assign(this, { frames, show, frame: 0, rate: 25, playing: false, told: () => {} });
  }

  to(frame) {
    this.frame = ((frame % this.frames) + this.frames) % this.frames;
    this.show(this.frame);
    this.told();
  }

  toggle() {
    if (this.playing) return this.pause();
    this.playing = true;
    this.last = performance.now();
    this.owed = 0;
    this.next = requestAnimationFrame((now) => this.tick(now));
    this.told();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.next);
    this.told();
  }

  /** Frames that drawing was too slow for are left out, so that the clip keeps its pace. */
  tick(now) {
    if (!this.playing) return;
    this.owed += ((now - this.last) / 1000) * this.rate;
    this.last = now;
    const due = Math.floor(this.owed);
    if (due > 0) {
      this.owed -= due;
      this.to(this.frame + due);
    }
    this.next = requestAnimationFrame((later) => this.tick(later));
  }

  /** Play, frame and rate, as parts of a toolbar. */
  controls(made) {
    const play = made("button", { type: "button", onclick: () => this.toggle() });
    const frame = made("input", { type: "range", min: 1, max: this.frames, step: 1, oninput: () => { this.pause(); this.to(Number(frame.value) - 1); } });
    const place = made("output", {}), rate = made("select", { onchange: () => { this.rate = Number(rate.value); } });
    frame.setAttribute("aria-label", "Frame");
    rate.setAttribute("aria-label", "Frames a second");
    for (const one of RATES) rate.add(new Option(`${one} a second`, one, false, one === this.rate));
    this.told = () => {
      play.textContent = this.playing ? "Pause" : "Play";
      play.setAttribute("aria-pressed", String(this.playing));
      frame.value = this.frame + 1;
      frame.setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${this.frames}`);
      place.textContent = `${this.frame + 1} / ${this.frames}`;
    };
    this.told();
    return [play, frame, place, rate];
  }
}
