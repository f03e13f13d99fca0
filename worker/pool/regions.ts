/**
 * Locations of instances, and the nearest one to a request.
 * @module
 */
import type { Region } from "../settings";

/** Latitude and longitude, in degrees, of about the middle of what each location hint means. */
const MIDDLE: Record<Region, [latitude: number, longitude: number]> = {
  wnam: [37, -120],
  enam: [40, -77],
  sam: [-23, -47],
  weur: [50, 4],
  eeur: [50, 21],
  apac: [22, 114],
  oc: [-34, 151],
  afr: [-26, 28],
  me: [25, 55],
};

/** Returns the regions, the nearest to the request's own place first; as they are given where that isn't known. */
export function nearest(regions: readonly Region[], cf: Request["cf"]): Region[] {
  const place = [Number(cf?.latitude ?? Number.NaN), Number(cf?.longitude ?? Number.NaN)] as [number, number];
  if (place.some(Number.isNaN)) return [...regions];
  return regions
    .map((region) => ({ region, far: angle(place, MIDDLE[region]) }))
    .sort((a, b) => a.far - b.far)
    .map(({ region }) => region);
}

/** The angle between two places on the globe (the haversine), which grows with their distance. */
function angle([latitude, longitude]: [number, number], [other, otherLongitude]: [number, number]): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const squared = (degrees: number) => Math.sin(radians(degrees) / 2) ** 2;
  const along = Math.cos(radians(latitude)) * Math.cos(radians(other)) * squared(longitude - otherLongitude);
  return squared(latitude - other) + along;
}
