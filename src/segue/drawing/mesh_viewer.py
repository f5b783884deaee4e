"""The script of pages with meshes (`segue.drawing.mesh_page`): a small viewer in WebGL 1.

All views share one WebGL context, since browsers give a page only a few, and copy its picture to a canvas of their own.
Only views on the screen hold buffers. Coordinates are those of `segue.structures.Camera`; a view turns the world about
the middle of its meshes, seen by the camera of the photo, and comes nearer by pulling that middle towards the camera.
"""

STYLE = """
canvas.mesh { display: block; position: relative; z-index: 1; width: 100%; max-width: 32rem; max-height: 84vh;
  object-fit: contain; cursor: grab; touch-action: pan-y; border-radius: .25rem;
  background: color-mix(in srgb, #888 13%, Canvas); }
canvas.mesh[hidden] { display: none; }
canvas.mesh:active { cursor: grabbing; }
canvas.mesh:focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
"""

SCRIPT = """
(() => {
  "use strict";
  const NEAR = .02, SWAY = .5;
  const LOST = "The browser gave up this view.";
  const HINT = matchMedia("(hover: none)").matches ? "Drag to turn." :
    "Drag to turn, then the wheel zooms and a double click goes back.";
  const views = [], calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const screen = document.createElement("canvas");
  const gl = screen.getContext("webgl", { antialias: true, alpha: true });

  const PLACE = `
    uniform mat3 turn; uniform vec3 middle; uniform vec3 target; uniform vec4 lens; uniform vec2 depth;
    vec3 placed(vec3 p) { return turn * (p - middle) + target; }
    vec4 seen(vec3 p) {
      return vec4(lens.x * p.x + lens.z * p.z, -lens.y * p.y - lens.w * p.z, depth.x * p.z + depth.y, p.z);
    }`;
  const SOLID = [`
    attribute vec3 point, normal; varying vec3 at, facing;` + PLACE + `
    void main() { at = placed(point); facing = turn * normal; gl_Position = seen(at); }`, `
    precision mediump float; varying vec3 at, facing; uniform vec3 color; uniform float ambient;
    void main() {
      float light = abs(dot(normalize(facing), normalize(at)));
      gl_FragColor = vec4(color * (ambient + (1. - ambient) * light), 1.);
    }`];
  const WALL = [`
    attribute vec3 point; attribute vec2 share; varying vec2 place;` + PLACE + `
    void main() { place = share; gl_Position = seen(placed(point)); }`, `
    precision mediump float; varying vec2 place; uniform sampler2D photo;
    void main() { gl_FragColor = texture2D(photo, place); }`];

  const built = ([vertex, fragment]) => {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    return program;
  };

  const bytes = text => Uint8Array.from(atob(text), sign => sign.charCodeAt(0)).buffer;
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = v => { const length = Math.hypot(...v) || 1; return v.map(x => x / length); };

  // Points and normals of each face's corners, one after the other: smooth, but not over a sharp edge.
  const corners = (mesh, crease) => {
    const whole = new Uint16Array(bytes(mesh.vertices));
    const faces = mesh.wide ? new Uint32Array(bytes(mesh.faces)) : new Uint16Array(bytes(mesh.faces));
    const points = Float32Array.from(whole, (value, i) => mesh.low[i % 3] + mesh.step[i % 3] * value);
    const point = i => [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
    const sums = new Float32Array(points.length), flat = new Float32Array(faces.length);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [0, 1, 2].map(k => point(faces[f + k]));
      const normal = cross(b.map((x, k) => x - a[k]), c.map((x, k) => x - a[k]));
      flat.set(normal, f);
      for (let k = 0; k < 9; k++) sums[3 * faces[f + Math.floor(k / 3)] + k % 3] += normal[k % 3];
    }
    const result = new Float32Array(6 * faces.length);
    faces.forEach((vertex, i) => {
      const f = i - i % 3, own = unit([...flat.subarray(f, f + 3)]);
      const smooth = unit([...sums.subarray(3 * vertex, 3 * vertex + 3)]);
      const agree = own[0] * smooth[0] + own[1] * smooth[1] + own[2] * smooth[2] > crease;
      result.set([...point(vertex), ...(agree ? smooth : own)], 6 * i);
    });
    return result;
  };

  const buffer = values => {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    return made;
  };

  // Lower and upper end of all meshes, told from what the page says and not from the points.
  const ends = meshes => {
    const high = mesh => mesh.low.map((low, k) => low + 65535 * mesh.step[k]);
    return [0, 1, 2].map(k => [Math.min(...meshes.map(m => m.low[k])), Math.max(...meshes.map(m => high(m)[k]))]);
  };

  const start = view => Object.assign(view, { yaw: 0, pitch: 0, pull: 1, touched: calm, began: performance.now() });

  const opened = canvas => {
    const given = JSON.parse(canvas.dataset.view), box = ends(given.meshes);
    const middle = box.map(([low, high]) => (low + high) / 2);
    const radius = Math.hypot(...box.map(([low, high]) => (high - low) / 2));
    return start({ canvas, given, middle, radius, seen: false, dirty: true });
  };

  const load = view => {
    view.solids = view.given.meshes.map(mesh => {
      const values = corners(mesh, view.given.light[1]);
      return { values: buffer(values), count: values.length / 6, color: mesh.color.map(value => value / 255) };
    });
    const [w, h] = view.given.size, [f, cx, cy] = view.given.camera, z = view.given.wall;
    const corner = (x, y) => [(x * w - cx) / f * z, (y * h - cy) / f * z, z, x, y];
    view.quad = buffer(new Float32Array([[0, 0], [0, 1], [1, 0], [1, 1]].flatMap(([x, y]) => corner(x, y))));
    view.texture = null;
    const photo = new Image();
    photo.onload = () => { if (view.seen) { view.texture = texture(photo); view.dirty = true; } };
    photo.src = view.canvas.dataset.photo;
  };

  const texture = photo => {
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, photo);
    for (const [name, value] of [[gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE],
                                 [gl.TEXTURE_MIN_FILTER, gl.LINEAR]]) gl.texParameteri(gl.TEXTURE_2D, name, value);
    return made;
  };

  const unload = view => {
    for (const solid of view.solids ?? []) gl.deleteBuffer(solid.values);
    gl.deleteBuffer(view.quad ?? null);
    gl.deleteTexture(view.texture ?? null);
    view.solids = view.quad = view.texture = null;
  };

  // Where the middle of the meshes goes: in the photo's view to where it is, and the more it is turned, the nearer
  // to the middle of the picture, and so far that all is seen.
  const targetOf = view => {
    const { size, camera: [f] } = view.given, fit = view.radius * Math.hypot(1, 2 * f / Math.min(...size));
    const turned = Math.min(1, 2 - 2 * Math.cos(view.yaw) * Math.cos(view.pitch));
    const goal = [0, 0, Math.max(fit, view.middle[2])];
    return view.middle.map((x, k) => (x + turned * (goal[k] - x)) * view.pull);
  };

  const use = (program, view) => {
    const uniform = name => gl.getUniformLocation(program, name);
    const { size: [w, h], camera: [f, cx, cy], wall } = view.given;
    const [s, c] = [Math.sin(view.yaw), Math.cos(view.yaw)], [t, d] = [Math.sin(view.pitch), Math.cos(view.pitch)];
    const target = targetOf(view);
    const far = Math.hypot(...target) + view.radius + 2 * Math.hypot(wall, wall * Math.max(w, h) / f);
    gl.useProgram(program);
    const turn = [c, -t * s, d * s, 0, d, t, -s, -t * c, d * c];  // by columns: about y, then about x
    gl.uniformMatrix3fv(uniform("turn"), false, turn);
    gl.uniform3fv(uniform("middle"), view.middle);
    gl.uniform3fv(uniform("target"), target);
    gl.uniform4f(uniform("lens"), 2 * f / w, 2 * f / h, (2 * cx - w) / w, (2 * cy - h) / h);
    gl.uniform2f(uniform("depth"), (far + NEAR) / (far - NEAR), -2 * far * NEAR / (far - NEAR));
    return uniform;
  };

  const attributes = (program, values, names, stride) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, values);
    for (const [name, size, offset] of names) {
      const place = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, gl.FLOAT, false, 4 * stride, 4 * offset);
    }
  };

  const draw = (view, solid, wall) => {
    const { canvas } = view;
    screen.width = canvas.width;
    screen.height = canvas.height;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (view.texture) {
      gl.enable(gl.CULL_FACE);  // from behind, the photo would hide all
      use(wall, view);
      gl.bindTexture(gl.TEXTURE_2D, view.texture);
      attributes(wall, view.quad, [["point", 3, 0], ["share", 2, 3]], 5);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
      gl.disable(gl.CULL_FACE);
    }
    const uniform = use(solid, view);
    gl.uniform1f(uniform("ambient"), view.given.light[0]);
    for (const { values, count, color } of view.solids) {
      gl.uniform3fv(uniform("color"), color);
      attributes(solid, values, [["point", 3, 0], ["normal", 3, 3]], 6);
      gl.drawArrays(gl.TRIANGLES, 0, count);
    }
    const paper = canvas.getContext("2d");
    paper.clearRect(0, 0, canvas.width, canvas.height);
    paper.drawImage(screen, 0, 0);
  };

  const listen = view => {
    const { canvas } = view;
    let last = null;
    const change = values => Object.assign(view, values, { touched: true, dirty: true });
    const turn = (x, y) => change({ yaw: view.yaw + x, pitch: Math.max(-1.5, Math.min(1.5, view.pitch + y)) });
    const zoom = by => change({ pull: Math.max(.2, Math.min(4, view.pull * by)) });
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
      turn(0, 0);
    });
    canvas.addEventListener("pointermove", event => {
      if (!last) return;
      turn(...[event.clientX - last[0], event.clientY - last[1]].map(moved => moved / canvas.clientWidth * 4));
      last = [event.clientX, event.clientY];
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { last = null; });
    canvas.addEventListener("wheel", event => {
      if (document.activeElement !== canvas) return;  // who only scrolls past must not be held up
      event.preventDefault();
      zoom(Math.exp(event.deltaY / 800));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { start(view); change({}); });
    const keys = { ArrowLeft: () => turn(-.1, 0), ArrowRight: () => turn(.1, 0), ArrowUp: () => turn(0, -.1),
                   ArrowDown: () => turn(0, .1), "+": () => zoom(.9), "-": () => zoom(1.1) };
    canvas.addEventListener("keydown", event => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  };

  const show = canvas => {
    const view = opened(canvas), longest = Math.max(...view.given.size);
    const scale = Math.max(512, Math.min(1024, longest)) / longest;
    [canvas.width, canvas.height] = view.given.size.map(side => Math.max(1, Math.round(side * scale)));
    canvas.hidden = false;
    canvas.nextElementSibling.textContent = HINT;
    listen(view);
    views.push(view);
    return view;
  };

  const run = () => {
    const solid = built(SOLID), wall = built(WALL);
    gl.enable(gl.DEPTH_TEST);
    screen.addEventListener("webglcontextlost", () => views.forEach(({ canvas }) => {
      canvas.hidden = true;
      canvas.nextElementSibling.textContent = LOST;
    }));
    const watch = new IntersectionObserver(entries => entries.forEach(entry => {
      const view = views.find(each => each.canvas === entry.target);
      view.seen = entry.isIntersecting;
      if (view.seen) load(view); else unload(view);
      view.dirty = true;
    }));
    for (const canvas of document.querySelectorAll("canvas.mesh")) watch.observe(show(canvas).canvas);
    const frame = now => {
      for (const view of views.filter(each => each.seen)) {
        if (!view.touched) Object.assign(view, { yaw: SWAY * Math.sin((now - view.began) / 2500), dirty: true });
        if (view.dirty) draw(view, solid, wall);
        view.dirty = false;
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  };

  if (gl) run();
})();
"""
