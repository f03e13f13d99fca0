/**
 * Queue of future events, earliest first: a binary heap.
 * @module
 */

export interface Event {
  at: number;
  run: () => void;
}

export class Events {
  readonly #heap: Event[] = [];

  add(at: number, run: () => void): void {
    const heap = this.#heap;
    let place = heap.push({ at, run }) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if ((heap[parent] as Event).at <= at) break;
      [heap[place], heap[parent]] = [heap[parent] as Event, heap[place] as Event];
      place = parent;
    }
  }

  /** Removes and returns the earliest event; undefined if the queue is empty. */
  next(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let place = 0; ; ) {
      const left = 2 * place + 1;
      const right = left + 1;
      let least = place;
      if (left < heap.length && (heap[left] as Event).at < (heap[least] as Event).at) least = left;
      if (right < heap.length && (heap[right] as Event).at < (heap[least] as Event).at) least = right;
      if (least === place) return first;
      [heap[place], heap[least]] = [heap[least] as Event, heap[place] as Event];
      place = least;
    }
  }
}
