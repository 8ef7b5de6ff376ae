// The page's script. Without it the page works by form and links; this saves
// the reloads. All HTML comes from the server: the same address is asked with
// fragment=1, and the parts of <main> that changed are exchanged.
'use strict';

(() => {
  const pollEvery = 4000; // milliseconds; doubles after each failure, up to:
  const pollAtMost = 30000;
  const longestDelay = 10000; // an answer that takes longer counts as a failure

  const field = document.getElementById('uid');
  const main = document.getElementById('main');
  const parts = ['result', 'newest'];
  const served = {}; // each part's HTML as the server gave it
  let tag = ''; // the ETag of what is shown
  let live = true;
  let failures = 0;
  let timer = 0;
  let loading = null; // the AbortController of the request under way
  let wanted = null; // what the user chose and isn't shown yet: {focus}

  // here is the address of what is shown: its search and its view.
  const here = () => location.pathname + location.search;
  const uidOf = (address) => new URL(address, location.href).searchParams.get('uid') || '';

  // load fetches an address and shows it. A later call cancels an earlier one.
  async function load(address) {
    if (loading) loading.abort();
    const mine = (loading = new AbortController());
    const tooLate = setTimeout(() => mine.abort(), longestDelay);
    clearTimeout(timer);
    try {
      const url = new URL(address, location.href);
      url.searchParams.set('fragment', '1');
      const headers = tag ? { 'If-None-Match': tag } : {};
      const response = await fetch(url, { headers, cache: 'no-store', signal: mine.signal });
      if (response.status !== 304) {
        if (!response.ok) throw new Error('status ' + response.status);
        const html = await response.text();
        if (loading !== mine) return;
        show(html);
        tag = response.headers.get('ETag') || '';
      }
      failures = 0;
      if (wanted && loading === mine) arrive();
    } catch {
      if (loading === mine) failures++;
    } finally {
      clearTimeout(tooLate);
      if (loading === mine) {
        loading = null;
        status();
        schedule();
      }
    }
  }

  // show exchanges the parts whose HTML differs from what was served last.
  function show(html) {
    const answer = new DOMParser().parseFromString(html, 'text/html');
    for (const id of parts) {
      const next = answer.getElementById(id);
      if (!next) throw new Error('an answer without ' + id);
      const text = next.outerHTML;
      if (text === served[id]) continue;
      served[id] = text;
      const old = document.getElementById(id);
      const focused = focusIn(old);
      const known = new Set([...old.querySelectorAll('[data-uid]')].map((row) => row.dataset.uid));
      old.replaceWith(document.adoptNode(next));
      prepare(next);
      if (focused) next.querySelector(focused)?.focus({ preventScroll: true });
      if (id === 'newest' && known.size) {
        for (const row of next.querySelectorAll('[data-uid]')) {
          row.classList.toggle('fresh', !known.has(row.dataset.uid));
        }
      }
    }
    document.title = document.getElementById('result').dataset.title;
  }

  // focusIn gives a selector for the element of a part that has the focus, so
  // that its successor gets it.
  function focusIn(part) {
    const at = document.activeElement;
    if (!at || at === part || !part.contains(at)) return '';
    if (at.matches('[data-live]')) return '[data-live]';
    const href = at.getAttribute('href');
    if (href) return 'a[href="' + CSS.escape(href) + '"]';
    return at.tagName === 'H1' ? 'h1' : '';
  }

  // prepare makes a part that came from the server ready for this browser.
  function prepare(part) {
    for (const element of part.querySelectorAll('[data-script]')) element.hidden = false;
    if (navigator.clipboard) {
      for (const button of part.querySelectorAll('[data-copy], [data-copy-link], [data-copy-json]')) button.hidden = false;
    }
    for (const time of part.querySelectorAll('time')) {
      const moment = new Date(time.dateTime);
      if (isNaN(moment)) continue;
      time.title = exact.format(moment) + '\n' + time.title;
      if (time.dataset.time === 'exact') time.textContent = shortly.format(moment);
    }
    age(part);
    status();
  }

  // The words are English like the page, the zone is the browser's.
  const shortly = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
  const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' });
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  const units = [['year', 31557600], ['month', 2629800], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60]];

  // ago says how long ago, or how far ahead, a moment is.
  function ago(moment) {
    const seconds = (moment - Date.now()) / 1000;
    for (const [unit, size] of units) {
      if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
    }
    return Math.abs(seconds) < 10 ? 'just now' : relative.format(Math.trunc(seconds), 'second');
  }

  // age renews the relative times.
  function age(root) {
    for (const element of root.querySelectorAll('time[data-time=relative], [data-ago]')) {
      const moment = new Date(element.dateTime || element.dataset.ago);
      if (isNaN(moment)) continue;
      const text = ago(moment);
      if (element.textContent !== text) element.textContent = text;
      element.hidden = false;
    }
  }

  // status shows whether the list is live and whether the server answers.
  function status() {
    document.getElementById('offline').hidden = failures < (wanted ? 1 : 2);
    const button = document.querySelector('[data-live]');
    if (!button) return;
    button.setAttribute('aria-pressed', live);
    const waiting = failures > 0 || document.querySelector('#newest [data-stale]') !== null;
    button.textContent = !live ? 'Paused' : waiting ? 'Trying again' : 'Live';
    button.title = live ? 'New orders appear by themselves. Press to pause.' : 'Press to go on.';
    button.classList.toggle('trouble', live && waiting);
  }

  function schedule() {
    clearTimeout(timer);
    if ((!live && !wanted) || document.hidden) return;
    timer = setTimeout(() => load(here()), Math.min(pollEvery * 2 ** failures, pollAtMost));
  }

  // go shows an address that the user chose. Where the server can't be reached
  // it stays wanted, and is asked for until it arrives.
  function go(address, remember, focus) {
    if (remember && address !== here()) history.pushState(null, '', address);
    field.value = uidOf(address);
    wanted = { focus };
    main.setAttribute('aria-busy', 'true');
    announce('');
    load(address);
  }

  // arrive is for the moment when what was wanted is shown.
  function arrive() {
    announce(document.getElementById('result').dataset.announcement);
    if (wanted.focus) {
      window.scrollTo(0, 0);
      document.querySelector('#result h1')?.focus({ preventScroll: true });
    }
    wanted = null;
    main.removeAttribute('aria-busy');
  }

  function announce(text) {
    document.getElementById('announcement').textContent = text;
  }

  // turn shows the order for people or as JSON; both are in the page.
  function turn(link) {
    history.replaceState(null, '', link.getAttribute('href'));
    tag = ''; // the tag is that of the other view
    for (const id of ['people', 'json']) document.getElementById(id).hidden = id !== link.dataset.view;
    for (const tab of document.querySelectorAll('[data-view]')) {
      if (tab === link) tab.setAttribute('aria-current', 'true');
      else tab.removeAttribute('aria-current');
    }
  }

  async function copy(button) {
    let text = button.dataset.copy;
    if ('copyLink' in button.dataset) text = location.href;
    if ('copyJson' in button.dataset) text = document.querySelector('#json code').textContent;
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
      announce('Copied.');
    } catch {
      button.textContent = 'Not allowed';
      announce('The browser doesn’t allow copying.');
    }
    button.disabled = true;
    setTimeout(() => {
      button.textContent = label;
      button.disabled = false;
    }, 1500);
  }

  document.getElementById('search').addEventListener('submit', (event) => {
    event.preventDefault();
    const uid = field.value.trim();
    go(uid ? '/?uid=' + encodeURIComponent(uid) : '/', true, false);
  });

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button?.matches('[data-live]')) {
      live = !live;
      status();
      if (live) load(here());
      else schedule();
      return;
    }
    if (button?.matches('[data-copy], [data-copy-link], [data-copy-json]')) {
      copy(button);
      return;
    }
    const link = event.target.closest('a[href^="/"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.pathname !== '/') return;
    event.preventDefault();
    if (link.matches('[data-view]')) turn(link);
    else go(link.getAttribute('href'), true, true);
  });

  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches('input, textarea, select')) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  addEventListener('popstate', () => go(here(), false, false));
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) clearTimeout(timer);
    else if (live || wanted) load(here());
  });
  setInterval(() => age(document), 15000);

  for (const id of parts) served[id] = document.getElementById(id).outerHTML;
  prepare(document);
  schedule();
})();
