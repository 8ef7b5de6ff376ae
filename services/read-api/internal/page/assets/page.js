// The page's script. Without it the page works by forms and links; this saves
// the reloads, and follows what arrives. All HTML comes from the server: the same
// address is asked with fragment=1, and the parts of <main> that changed are
// exchanged.
'use strict';

(() => {
  // Milliseconds. It is looked regardless of the stream, as the cache does too:
  // this shows that data is stale, and then that it isn't any more.
  const lookEvery = 15000;
  const lookAtTrouble = 4000;
  const tryEvery = 2000; // while the server is away; doubles, up to:
  const tryAtMost = 30000;
  const longestDelay = 10000; // an answer that takes longer counts as a failure
  const atMostEvery = 1000; // however many changes come, so often at most it is asked

  const field = document.getElementById('q');
  const main = document.getElementById('main');
  const parts = ['result', 'newest'];
  const served = {}; // each part's HTML as the server gave it
  let tag = main.dataset.tag; // the ETag of what is shown
  let shown = here(); // the address of what is shown, or wanted
  let live = true;
  let failures = 0;
  let broken = false; // the stream is
  let stream = null; // {address, stop}
  let timer = 0;
  let nextLook = 0; // when the timer rings, in milliseconds since the page began
  let lastLook = 0;
  let loading = null; // the AbortController of the request under way
  let again = false; // something changed since it began
  let wanted = null; // what the user chose and isn't shown yet: {focus}

  const result = () => document.getElementById('result');

  // here is the address that the browser shows.
  function here() { return location.pathname + location.search; }

  // load fetches an address and shows it. A later call cancels an earlier one.
  // rung says that a change is why.
  async function load(address, rung) {
    loading?.abort();
    const mine = (loading = new AbortController());
    const tooLate = setTimeout(() => mine.abort(), longestDelay);
    clearTimeout(timer);
    timer = 0;
    again = false;
    lastLook = performance.now();
    let unchanged = false;
    try {
      const url = new URL(address, location.href);
      url.searchParams.set('fragment', '1');
      const headers = tag ? { 'If-None-Match': tag } : {};
      const response = await fetch(url, { headers, cache: 'no-store', signal: mine.signal });
      unchanged = response.status === 304;
      if (!unchanged) {
        if (response.status === 401 || response.status === 403) {
          location.reload(); // to sign in again, or to see why not
          return;
        }
        if (!response.ok) throw new Error('status ' + response.status);
        const html = await response.text();
        if (loading !== mine) return;
        if (response.redirected) arriveAt(response.url);
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
        follow();
        status();
        // Another replica may have answered, to which the change is yet to come.
        if (again) soon(atMostEvery, true);
        else if (rung && unchanged) soon(atMostEvery, false);
        else schedule();
      }
    }
  }

  // arriveAt notes where a search has led.
  function arriveAt(url) {
    const final = new URL(url);
    final.searchParams.delete('fragment');
    history.replaceState(null, '', final.pathname + final.search);
    shown = here();
  }

  // show exchanges the parts whose HTML differs from what was served last.
  function show(html) {
    const answer = new DOMParser().parseFromString(html, 'text/html');
    for (const id of parts) {
      const next = answer.getElementById(id);
      if (!next) throw new Error('an answer without ' + id);
      const text = next.outerHTML;
      if (text === served[id]) continue;
      const old = document.getElementById(id);
      if (!wanted && old.querySelector('[data-filters][open]') && next.querySelector('[data-filters]')) {
        // Somebody is filling in the filters: their part stays, whatever arrives.
        for (const { name, value } of next.attributes) old.setAttribute(name, value);
        continue;
      }
      served[id] = text;
      const focused = focusIn(old);
      const known = new Set([...old.querySelectorAll('[data-uid]')].map((row) => row.dataset.uid));
      old.replaceWith(document.adoptNode(next));
      prepare(next);
      if (focused) next.querySelector(focused)?.focus({ preventScroll: true });
      if (id === 'newest' && known.size && !wanted) {
        for (const row of next.querySelectorAll('[data-uid]')) {
          row.classList.toggle('fresh', !known.has(row.dataset.uid));
        }
      }
    }
    document.title = result().dataset.title;
  }

  // focusIn gives a selector for the element of a part that has the focus, so
  // that its successor gets it.
  function focusIn(part) {
    const at = document.activeElement;
    if (!at || at === part || !part.contains(at)) return '';
    if (at.matches('[data-live]')) return '[data-live]';
    if (at.id) return '#' + CSS.escape(at.id);
    const href = at.getAttribute('href');
    if (href) return 'a[href="' + CSS.escape(href) + '"]';
    return at.tagName === 'H1' ? 'h1' : '';
  }

  // prepare makes a part that came from the server ready for this browser.
  function prepare(part) {
    look.dress(part);
    for (const button of part.querySelectorAll('[data-copy-link], [data-copy-json]')) button.hidden = !navigator.clipboard;
    for (const button of part.querySelectorAll('[data-share]')) button.hidden = !navigator.share;
    for (const words of part.querySelectorAll('[data-zone]')) words.textContent = '';
    for (const input of part.querySelectorAll('input[data-moment]')) input.value = localTime(new Date(input.dataset.moment));
    status();
  }

  // localTime is a moment as a field of dates has it, in the browser's zone.
  function localTime(moment) {
    const shifted = new Date(moment - moment.getTimezoneOffset() * 60000);
    return isNaN(shifted) ? '' : shifted.toISOString().slice(0, 16);
  }

  // status shows whether the list is live and whether the server answers.
  function status() {
    document.getElementById('offline').hidden = failures < (wanted ? 1 : 2);
    const button = document.querySelector('[data-live]');
    if (!button) return;
    button.setAttribute('aria-pressed', String(live));
    const waiting = failures > 0 || broken || main.querySelector('[data-stale]') !== null;
    button.textContent = !live ? 'Paused' : waiting ? 'Trying again' : 'Live';
    button.title = live ? 'New orders appear by themselves. Press to pause.' : 'Press to go on.';
    button.classList.toggle('trouble', live && waiting);
  }

  // follow opens the stream of what is shown, or closes it: nothing is followed
  // that nobody sees. A browser has few connections to a server for all windows.
  function follow() {
    const address = live && !document.hidden ? result().dataset.stream : '';
    if (stream?.address === address || (!stream && !address)) return;
    stream?.stop();
    stream = null;
    broken = false;
    if (!address) return;
    const stop = followChanges(address, {
      state(open) {
        broken = !open;
        if (open) soon(0, false); // for what has changed in between
        else status();
      },
      changed(data, reset) {
        if (reset || concerns(data)) soon(atMostEvery - (performance.now() - lastLook), true);
      },
    });
    stream = { address, stop };
  }

  // concerns tells whether a change may be seen here: canonical JSON begins with
  // the uid. A list can have any order that arrives; what is deleted was in it or
  // makes no difference.
  function concerns(data) {
    const uid = /^\{"order_uid":"([\w.-]+)"(\}?)/.exec(data);
    if (!uid || !uid[2]) return true;
    return document.querySelector('[data-uid="' + CSS.escape(uid[1]) + '"]') !== null || result().querySelector('h1')?.textContent === uid[1];
  }

  // soon asks for what is shown after a while, unless it is asked earlier anyway.
  function soon(wait, rung) {
    if (loading) {
      again = true;
      return;
    }
    const at = performance.now() + Math.max(wait, 0);
    if (timer && nextLook <= at) return;
    ring(at, rung);
  }

  function ring(at, rung) {
    clearTimeout(timer);
    nextLook = at;
    timer = setTimeout(() => {
      timer = 0;
      load(here(), rung);
    }, at - performance.now());
  }

  function schedule() {
    clearTimeout(timer);
    timer = 0;
    if (document.hidden || (!wanted && (!live || !result().dataset.stream) && failures === 0)) return;
    const trouble = result().dataset.state === 'unavailable' || main.querySelector('[data-stale]');
    const wait = failures ? Math.min(tryEvery * 2 ** (failures - 1), tryAtMost) : trouble ? lookAtTrouble : lookEvery;
    ring(performance.now() + wait, false);
  }

  // go shows an address that the user chose. Where the server can't be reached
  // it stays wanted, and is asked for until it arrives.
  function go(address, remember, focus) {
    closeSuggestions();
    if (remember && address !== here()) history.pushState(null, '', address);
    shown = address;
    wanted = { focus };
    tag = '';
    main.setAttribute('aria-busy', 'true');
    look.announce('');
    load(address, false);
  }

  // arrive is for the moment when what was wanted is shown.
  function arrive() {
    const { announcement, query, state } = result().dataset;
    look.announce(announcement);
    field.value = query;
    const orders = document.querySelector('.nav a[href="' + look.base + '"]');
    if (state === 'home') orders.setAttribute('aria-current', 'page');
    else orders.removeAttribute('aria-current');
    if (wanted.focus) {
      window.scrollTo(0, 0);
      document.querySelector('#result h1')?.focus({ preventScroll: true });
    }
    wanted = null;
    main.removeAttribute('aria-busy');
  }

  // turn shows the order for people or as JSON; both are in the page.
  function turn(link) {
    history.replaceState(null, '', link.getAttribute('href'));
    shown = here();
    tag = ''; // the tag is that of the other view
    for (const id of ['people', 'json']) document.getElementById(id).hidden = id !== link.dataset.view;
    for (const tab of document.querySelectorAll('[data-view]')) {
      if (tab === link) tab.setAttribute('aria-current', 'true');
      else tab.removeAttribute('aria-current');
    }
    look.announce(link.dataset.view === 'json' ? 'The order as JSON.' : 'The order’s details.');
  }

  function pause() {
    live = !live;
    look.announce(live ? 'The list is live.' : 'The list is paused.');
    follow();
    status();
    if (live) load(here(), false);
    else schedule();
  }

  // filterAddress is the address of a list with the form's filters, in which
  // dates say which moment they mean.
  function filterAddress(form) {
    const query = new URLSearchParams();
    for (const input of form.querySelectorAll('input[name]')) {
      let value = input.value.trim();
      if (!value) continue;
      // What wasn't changed keeps the seconds, which the field doesn't show.
      const { moment } = input.dataset;
      if (moment && value === localTime(new Date(moment))) value = moment;
      else if (input.type === 'datetime-local') value = new Date(value).toISOString();
      query.set(input.name, value);
    }
    const text = query.toString();
    return look.base + (text && '?' + text);
  }

  const closeSuggestions = suggestInto(field, document.getElementById('suggestions'), (address) => go(address, true, true));

  document.addEventListener('submit', (event) => {
    if (event.target.id === 'search') {
      event.preventDefault();
      const text = field.value.trim();
      go(look.base + (text && '?q=' + encodeURIComponent(text)), true, false);
    } else if (event.target.matches('[data-filter-form]')) {
      event.preventDefault();
      go(filterAddress(event.target), true, true);
    }
  });

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button?.matches('[data-live]')) pause();
    if (button?.matches('[data-copy-link]')) look.copy(button, location.href);
    if (button?.matches('[data-copy-json]')) look.copy(button, document.querySelector('#json code').textContent);
    if (button?.matches('[data-share]')) navigator.share({ title: document.title, url: location.href }).catch(() => {});
    if (button) return;
    const link = event.target.closest('a[href^="/"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.pathname !== look.base) return;
    event.preventDefault();
    if (link.matches('[data-view]')) turn(link);
    else go(link.getAttribute('href'), true, true);
  });

  look.keys({
    '/': () => {
      field.focus();
      field.select();
    },
    j: () => {
      const other = document.querySelector('[data-view]:not([aria-current])');
      if (other) turn(other);
    },
    c: () => {
      const button = document.querySelector('[data-copy-link]:not([hidden])');
      if (button) look.copy(button, location.href);
      else navigator.clipboard?.writeText(location.href).then(() => look.announce('Copied.'), () => {});
    },
    n: () => go(look.base, true, true),
    f: () => {
      const filters = document.querySelector('[data-filters]');
      if (!filters) return;
      filters.open = true;
      filters.querySelector('input').focus();
    },
    p: () => {
      if (document.querySelector('[data-live]')) pause();
    },
  });

  addEventListener('popstate', () => {
    if (here() !== shown) go(here(), false, false); // else it is a place within the page
  });
  document.addEventListener('visibilitychange', () => {
    follow();
    if (document.hidden) {
      clearTimeout(timer);
      timer = 0;
    } else if (live || wanted) load(here(), false);
  });
  // A page that the browser keeps for its back button holds no connection.
  addEventListener('pagehide', () => {
    stream?.stop();
    stream = null;
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) {
      follow();
      load(here(), false);
    }
  });

  for (const id of parts) served[id] = document.getElementById(id).outerHTML;
  prepare(document);
  follow();
  schedule();
})();
