// The console's script. Without it the pages work by links and forms; this keeps
// them up to date, and checks a value as one types. All HTML comes from the
// server: the same address is asked again, and the parts (data-part) that changed
// are exchanged.
'use strict';

(() => {
  const pollEvery = 1500; // milliseconds; doubles after each failure, up to:
  const pollAtMost = 15000;
  const pollWorking = 400; // while a job is at work
  const longestDelay = 15000;

  const main = document.getElementById('main');
  let live = document.body.hasAttribute('data-live');
  let paused = false;
  let tag = document.body.dataset.tag || '';
  let failures = 0;
  let timer = 0;
  const served = new Map([...document.querySelectorAll('[data-part]')].map((part) => [part.id, part.outerHTML]));

  // refresh asks for this page and exchanges what changed.
  async function refresh() {
    const giveUp = new AbortController();
    const tooLate = setTimeout(() => giveUp.abort(), longestDelay);
    try {
      const headers = tag ? { 'If-None-Match': tag } : {};
      const response = await fetch(location.href, { headers, cache: 'no-store', signal: giveUp.signal, redirect: 'error' });
      if (response.status !== 304) {
        const html = await response.text();
        if (!html.includes('data-part')) throw new Error('no page');
        show(new DOMParser().parseFromString(html, 'text/html'), response.ok);
        tag = response.headers.get('ETag') || '';
      }
      failures = 0;
    } catch {
      failures++;
    }
    clearTimeout(tooLate);
    state();
    schedule();
  }

  function show(page, ok) {
    const parts = [...document.querySelectorAll('[data-part]')];
    const next = parts.map((part) => page.getElementById(part.id));
    if (next.some((part, i) => !part && parts[i].id !== 'state')) {
      // It became another page: the letters are there at last, or are gone.
      if (ok || document.getElementById('starting')) location.reload();
      return;
    }
    live = page.body.hasAttribute('data-live');
    parts.forEach((part, i) => {
      if (next[i] && next[i].outerHTML !== served.get(part.id)) exchange(part, next[i]);
    });
  }

  // exchange puts a part in the place of an older one; what was chosen, focused
  // and unfolded stays so.
  function exchange(old, next) {
    served.set(old.id, next.outerHTML);
    const chosen = new Set([...old.querySelectorAll('input:checked')].map((box) => box.value));
    const focused = focusIn(old);
    const before = new Map([...old.querySelectorAll('[data-row]')].map((row) => [row.dataset.row, row.dataset.key]));
    document.adoptNode(next);
    for (const box of next.querySelectorAll('input[type=checkbox]')) box.checked = chosen.has(box.value);
    old.replaceWith(next);
    look.dress(next);
    if (focused) next.querySelector(focused)?.focus({ preventScroll: true });
    if (before.size) {
      for (const row of next.querySelectorAll('[data-row]')) {
        if (!before.has(row.dataset.row) || before.get(row.dataset.row) !== row.dataset.key) row.classList.add('fresh');
      }
    }
    if (next.dataset.over === 'true') look.announce(next.dataset.said);
    choice();
  }

  function focusIn(part) {
    const at = document.activeElement;
    if (!at || at === part || !part.contains(at)) return '';
    if (at.matches('input[type=checkbox]')) return 'input[value="' + CSS.escape(at.value) + '"]';
    const href = at.getAttribute('href');
    return href ? 'a[href="' + CSS.escape(href) + '"]' : '';
  }

  function schedule() {
    clearTimeout(timer);
    if (!live || paused || document.hidden) return;
    const working = document.querySelector('#job[data-over=false]');
    timer = setTimeout(refresh, Math.min((working ? pollWorking : pollEvery) * 2 ** failures, pollAtMost));
  }

  function state() {
    let notice = document.getElementById('unreachable');
    if (failures > 1 && !notice) {
      notice = document.createElement('p');
      notice.id = 'unreachable';
      notice.className = 'notice bad';
      notice.setAttribute('role', 'alert');
      notice.textContent = 'The console can’t be reached. What you see is what was known before; it is tried again by itself.';
      main.prepend(notice);
    } else if (failures === 0 && notice) {
      notice.remove();
    }
    for (const button of document.querySelectorAll('[data-live-switch]')) {
      button.setAttribute('aria-pressed', !paused);
      button.textContent = paused ? 'Paused' : failures ? 'Trying again' : 'Live';
      button.title = paused ? 'Press to go on.' : 'New letters appear by themselves. Press to pause.';
      button.classList.toggle('trouble', !paused && failures > 0);
    }
  }

  document.addEventListener('click', (event) => {
    if (!event.target.closest('[data-live-switch]')) return;
    paused = !paused;
    state();
    if (paused) clearTimeout(timer);
    else refresh();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && live && !paused) refresh();
  });

  // What is chosen in a list.
  const form = document.getElementById('choice');
  function choice() {
    if (!form) return;
    const boxes = [...form.querySelectorAll('input[type=checkbox]')];
    const n = boxes.filter((box) => box.checked).length;
    const all = form.querySelector('#count').textContent;
    document.getElementById('chosen').textContent = n ? n + ' of them chosen.' : boxes.length ? 'Choose some, or none to mean all of them.' : '';
    for (const button of form.querySelectorAll('button[name=kind]')) {
      button.dataset.label ||= button.textContent;
      button.textContent = button.dataset.label + (n ? ' ' + n : boxes.length ? ' all' : '');
      button.title = n ? '' : all;
    }
  }
  if (form) {
    let last = null;
    form.addEventListener('click', (event) => {
      const box = event.target.closest('input[type=checkbox]');
      if (!box) return;
      if (event.shiftKey && last?.isConnected) {
        const boxes = [...form.querySelectorAll('input[type=checkbox]')];
        const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
        for (let i = from; i <= to; i++) boxes[i].checked = box.checked;
      }
      last = box;
      choice();
    });
    choice();
  }

  // Keys.
  function move(step) {
    const rows = [...document.querySelectorAll('[data-row]')];
    const links = rows.map((row) => row.querySelector('a')).filter(Boolean);
    if (!links.length) return;
    const at = links.findIndex((link) => link.closest('[data-row]').contains(document.activeElement));
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1)];
    next.focus();
    next.scrollIntoView({ block: 'nearest' });
  }
  look.keys({
    '/': () => document.getElementById('q').focus(),
    j: () => move(1),
    k: () => move(-1),
    x: () => document.activeElement.closest('[data-row]')?.querySelector('input[type=checkbox]')?.click(),
    g: () => { location.href = look.base; },
    l: () => { location.href = look.base + 'letters'; },
  });

  // The editor.
  const edit = document.getElementById('edit');
  if (edit) {
    const value = document.getElementById('value');
    const verdict = document.getElementById('verdict');
    const list = document.getElementById('failures');
    const changed = document.getElementById('changed');
    const first = value.value;
    let waiting = 0;
    let asked = 0;
    let sending = false;

    async function check() {
      const mine = ++asked;
      try {
        const response = await fetch(edit.dataset.check, { method: 'POST', body: new FormData(edit), headers: { 'X-CSRF-Token': document.body.dataset.csrf || '' } });
        if (!response.ok) throw response;
        const answer = await response.json();
        if (mine === asked) tell(answer);
      } catch (failure) {
        if (mine !== asked) return;
        verdict.textContent = failure.status === 413 ? 'It is too large for this page. Edit it in a terminal, with orderctl dlq edit.' : 'It can’t be checked now.';
        verdict.className = 'invalid';
      }
    }

    function tell(answer) {
      if (verdict.textContent !== answer.text) verdict.textContent = answer.text;
      verdict.className = answer.valid ? 'valid' : 'invalid';
      value.setAttribute('aria-invalid', !answer.valid);
      list.replaceChildren(...answer.failures.map((failure) => {
        const item = document.createElement('li');
        const place = document.createElement('button');
        place.type = 'button';
        place.dataset.offset = failure.offset;
        place.textContent = failure.line + ':' + failure.column;
        item.append(place, ' ' + failure.text);
        return item;
      }));
      changed.replaceChildren(...answer.changed.map((text) => {
        const item = document.createElement('li');
        item.textContent = text;
        return item;
      }));
    }

    value.addEventListener('input', () => {
      clearTimeout(waiting);
      waiting = setTimeout(check, 200);
    });
    list.addEventListener('click', (event) => {
      const at = Number(event.target.closest('button')?.dataset.offset);
      if (isNaN(at)) return;
      const offset = Math.min(at, value.value.length);
      value.focus();
      value.setSelectionRange(offset, offset);
      const line = value.value.slice(0, offset).split('\n').length;
      value.scrollTop = Math.max(0, (line - 5) * parseFloat(getComputedStyle(value).lineHeight));
    });
    edit.addEventListener('submit', () => { sending = true; });
    window.addEventListener('beforeunload', (event) => {
      if (!sending && value.value !== first) event.preventDefault();
    });
  }

  state();
  schedule();
})();
